// Package onnxpb holds the protobuf bindings of the ONNX file format (onnx 1.23, IR version 14).
//
// onnx.proto is the schema published by the ONNX project under the Apache-2.0 licence, but for the name of its protobuf package:
// a program may hold a message of one name only once, and with the name "onnx" these bindings could not stand beside others,
// such as those in onnx-go. The name is not part of the file format. onnx.pb.go is generated and never edited by hand. Regenerating needs protoc and protoc-gen-go:
//
//	go generate ./onnxio/onnxpb
package onnxpb

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --go_opt=Monnx.proto=github.com/obc-onnx/obc/onnxio/onnxpb onnx.proto
