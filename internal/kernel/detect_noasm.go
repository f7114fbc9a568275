//go:build !amd64 || noasm

package kernel

// detect returns the best form that this machine runs.
func detect() ISA { return Generic }
