// Package onnxio reads and writes ONNX models without losing anything, and shows their tensors as Go slices.
//
//	m, err := onnxio.Load("model.onnx")        // checked; errors name the file, the node or the tensor
//	if err != nil {
//		return err
//	}
//	defer m.Close()                            // external data is mapped until then
//	for _, p := range m.Proto.Graph.Initializer {
//		t, err := m.Tensor(p)              // a view where the layout allows: read-only
//		...
//	}
//	m.Proto.Graph.Initializer[0] = onnxio.TensorOf(weights, 64, 128).Proto("fc.weight")
//	return m.Save("out.onnx", onnxio.SaveOptions{})
//
// The model is the protobuf message itself (package onnxpb), free to edit. What nobody touches comes out as it went in: unknown
// fields, names and their order, and the very bytes of each node. Tensors have all element types of IR version 14, whichever
// way the file stores them: raw_data, typed fields or a file beside the model; Cast converts between them as the operator of
// that name does. Save writes to a temporary file that takes its place when it is whole.
//
// Files are not trusted. A damaged or hostile one gives an error, not a panic, and cannot make the reader take much more memory
// than the file has bytes; external data never leaves the model's folder.
//
// Package convert raises the operator set of a model.
package onnxio
