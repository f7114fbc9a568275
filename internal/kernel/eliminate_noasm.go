//go:build !amd64 || noasm

package kernel

func elim32() Elim[float32] { return genericElim[float32]() }
func elim64() Elim[float64] { return genericElim[float64]() }

func gridErrors() func(out, x, scale, inv, lo, hi []float32) { return gridErrorsGeneric }
