package kernel

// detect returns the best form that this machine runs.
func detect() ISA { return Generic }
