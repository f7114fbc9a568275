//go:build !noasm

package kernel

import "golang.org/x/sys/cpu"

// detect returns the best form that processor and operating system support.
func detect() ISA {
	x := cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX2 && x.HasFMA:
		return AVX512
	case x.HasAVX2 && x.HasFMA:
		return AVX2
	}
	return Generic
}
