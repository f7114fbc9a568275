package kernel

func tiling32() *tiling[float32] { return &generic32 }
func tiling64() *tiling[float64] { return &generic64 }
func formsOf(ISA) *forms         { return &generic }
