package kernel

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLeaveCore(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()

	var one unix.CPUSet
	one.Set(thisCore())
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	if leaveCore(); !one.IsSet(thisCore()) {
		t.Error("the thread left the only core that it may run on")
	}
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}

	moved := false
	for range 20 { // the system may move it back at once
		before := thisCore()
		leaveCore()
		moved = moved || thisCore() != before
	}
	if all.Count() > 1 && !moved {
		t.Error("the thread stayed on its core")
	}
	if err := unix.SchedGetaffinity(0, &now); err != nil || now != all {
		t.Errorf("the thread may run on %v (%v), expected %v as before", now, err, all)
	}
}

func TestLoneliness(t *testing.T) {
	var l loneliness
	if l.tooLong(waitTime / 2) {
		t.Error("impatient")
	}
	if !l.tooLong(waitTime / 2) {
		t.Error("patient for ever")
	}
	if l.tooLong(waitTime) {
		t.Error("leaves its core again as soon as before")
	}
	if !l.tooLong(waitTime) {
		t.Error("does not leave its core a second time")
	}
	if l.end(); l.tooLong(waitTime / 2) {
		t.Error("company does not help")
	}
	if !l.tooLong(waitTime / 2) {
		t.Error("remembers having been alone before")
	}
}
