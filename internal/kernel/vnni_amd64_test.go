//go:build !noasm

package kernel

import "golang.org/x/sys/cpu"

// withVNNI switches VNNI on or off; false: this machine has none.
func withVNNI(on bool) bool {
	vnni = on && cpu.X86.HasAVX512VNNI
	return vnni
}

// quadForms are the tilings of quads that this machine runs.
func quadForms() []*quadTiling {
	if !cpu.X86.HasAVX512VNNI || detect() < AVX512 {
		return []*quadTiling{&genericQuads}
	}
	return []*quadTiling{&genericQuads, &vnniQuads}
}
