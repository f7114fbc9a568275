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
		if n, m := nm[0], nm[1]; channels%m == 0 && float64(zeros) >= 0.95*float64(m-n)/float64(m)*float64(len(w)) && atMost(w, n, m) {
			return fmt.Sprintf("%d:%d", n, m)
		}
	}
	for _, c := range []int{16, 8, 4, 2} {
		if channels%c == 0 && together(w, zeros, c) {
			return fmt.Sprintf("block %d", c)
		}
	}
	return "unstructured"
}

// atMost reports whether each aligned run of m weights has at most n that are not zero.
func atMost(w []float32, n, m int) bool {
	for at := 0; at+m <= len(w); at += m {
		kept := 0
		for _, x := range w[at : at+m] {
			if x != 0 {
				kept++
			}
		}
		if kept > n {
			return false
		}
	}
	return true
}

// together reports whether nearly all of the zeros lie in aligned runs of c that are zero as a whole.
func together(w []float32, zeros, c int) bool {
	inside := 0
	for at := 0; at+c <= len(w); at += c {
		if atMost(w[at:at+c], 0, c) {
			inside += c
		}
	}
	return float64(inside) >= 0.95*float64(zeros)
}
