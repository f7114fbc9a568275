//go:build !amd64 || noasm

package kernel

func withVNNI(bool) bool { return false }

func quadForms() []*quadTiling { return []*quadTiling{&genericQuads} }
