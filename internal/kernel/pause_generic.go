//go:build !amd64 || noasm

package kernel

// pause passes a moment.
func pause() {}
