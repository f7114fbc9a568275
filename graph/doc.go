// Package graph is a typed, editable view of an ONNX model: values with their producers and readers, nodes in topological
// order, nested subgraphs with the names they capture.
package graph
