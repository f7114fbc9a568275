//go:build !linux

package passes

import "runtime"

// peakRSS is the memory that the Go runtime has taken from the system, in bytes: the nearest figure that all systems have.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
