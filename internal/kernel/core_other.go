//go:build !linux

package kernel

// thisCore returns the number of the core that the caller's thread is on: here it is not known.
func thisCore() int { return -1 }

// leaveCore does nothing: here the system is trusted to put threads on idle cores.
func leaveCore() {}
