package kernel

import "golang.org/x/sys/unix"

// yieldCore lets other threads run that wait for this core: Linux may have put helper and caller on the same one, for milliseconds.
func yieldCore() {
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}
