//go:build unix

package obs

import (
	"syscall"
	"time"
)

// clock is the processor time that this process has used: unlike the time of day it does not see what else the machine does.
func clock() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
