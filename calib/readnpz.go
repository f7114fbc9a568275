package calib

import "github.com/obc-onnx/obc/onnxio"

// ReadNPZ reads all arrays of a .npz file into memory, by name. Errors name the file and the array.
func ReadNPZ(path string) (map[string]*onnxio.Tensor, error) {
	r, err := openNPZ(path, nil, Options{})
	if err != nil {
		return nil, &DataError{path, err}
	}
	defer r.close()
	out := map[string]*onnxio.Tensor{}
	for name, x := range r.(*arrays).data {
		if out[name], err = x.whole(); err != nil {
			return nil, &DataError{path, err}
		}
	}
	return out, nil
}
