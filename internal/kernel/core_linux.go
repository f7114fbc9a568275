package kernel

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// thisCore returns the number of the core that the caller's thread is on, -1 if it is not known.
func thisCore() int {
	var core uint32
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&core)), 0, 0); e != 0 {
		return -1
	}
	return int(core)
}

// leaveCore moves the caller's thread to another of the cores that it may run on, if there is one. It may come back.
func leaveCore() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() < 2 {
		return
	}
	others := all
	others.Clear(thisCore())
	if unix.SchedSetaffinity(0, &others) == nil {
		_ = unix.SchedSetaffinity(0, &all) // cannot fail: it was so before
	}
}
