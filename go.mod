module github.com/obc-onnx/obc

go 1.26

require (
	github.com/goccy/go-yaml v1.19.2
	google.golang.org/protobuf v1.36.12
)
