package inspect

import "fmt"

// few is the share of zeros below which weights count as dense.
const few = 0.02

// pattern names what the zeros of a weight follow. In w, each channels consecutive weights
// belong to one kernel position. N:M patterns and blocks are aligned runs along the channels.
func pattern(w []float32, channels int) string {
	zeros := 0
	for _, x := range w {
		if x == 0 {
			zeros++
		}
	}
	if len(w) == 0 || float64(zeros) < few*float64(len(w)) {
		return ""
	}
	for _, nm := range [][2]int{{1, 4}, {2, 4}, {4, 8}, {1, 2}, {3, 4}} {
		n, m := nm[0], nm[1]
		reached := float64(len(w)) / float64(channels) * float64(channels-channels%m)
		if channels >= m && float64(zeros) >= 0.95*float64(m-n)/float64(m)*reached && atMost(w, channels, n, m) {
			return fmt.Sprintf("%d:%d", n, m)
		}
	}
	for _, c := range []int{16, 8, 4, 2} {
		if channels >= c && together(w, channels, zeros, c) {
			return fmt.Sprintf("block %d", c)
		}
	}
	return "unstructured"
}

// atMost reports whether each aligned run of m weights at one kernel position has at most n that are not zero. The last channels, which
// do not fill a run, may be as they like.
func atMost(w []float32, channels, n, m int) bool {
	for at := 0; at+channels <= len(w); at += channels {
		for c := 0; c+m <= channels; c += m {
			if kept(w[at+c:at+c+m]) > n {
				return false
			}
		}
	}
	return true
}

// together reports whether nearly all of the zeros lie in aligned runs of c that are zero as a whole.
func together(w []float32, channels, zeros, c int) bool {
	inside := 0
	for at := 0; at+channels <= len(w); at += channels {
		for k := 0; k+c <= channels; k += c {
			if kept(w[at+k:at+k+c]) == 0 {
				inside += c
			}
		}
	}
	return float64(inside) >= 0.95*float64(zeros)
}

// kept counts what is not zero.
func kept(w []float32) int {
	n := 0
	for _, x := range w {
		if x != 0 {
			n++
		}
	}
	return n
}
