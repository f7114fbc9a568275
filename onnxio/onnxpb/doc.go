// Package onnxpb holds the protobuf bindings of the ONNX file format (onnx 1.23, IR version 14).
//
// onnx.proto is the schema published by the ONNX project under the Apache-2.0 licence; onnx.pb.go is generated from it and
// never edited by hand. Regenerating needs protoc and protoc-gen-go:
//
//	go generate ./onnxio/onnxpb
package onnxpb

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --go_opt=Monnx.proto=github.com/obc-onnx/obc/onnxio/onnxpb onnx.proto
