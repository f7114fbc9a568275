//go:build !amd64 || noasm

package kernel

func tiling32() *tiling[float32]  { return &generic32 }
func tiling64() *tiling[float64]  { return &generic64 }
func intTiling() *tiling[float32] { return &genericInt }
func formsOf(ISA) *forms          { return &generic }

// packFast packs the first rows of a transposed panel and returns how many.
func packFast(dst []float32, w int, src []float32, ld, kb int) int { return 0 }

// quadForm is the tiling of quads in use; nil: there is none.
func quadForm() *quadTiling { return nil }

// nbitsForms is the implementation in use.
func nbitsForms() nbitsForm { return genericNBits }
