//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreSizeLimit makes writes beyond the user's file size limit fail with an error instead of ending the program.
func ignoreSizeLimit() { signal.Ignore(syscall.SIGXFSZ) }
