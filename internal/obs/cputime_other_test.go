//go:build !unix

package obs

import "time"

var began = time.Now()

// clock is the time since the process began.
func clock() time.Duration { return time.Since(began) }
