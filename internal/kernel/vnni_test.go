//go:build amd64 && !noasm

package kernel

import "testing"

// TestWithoutVNNI takes the path of machines that have AVX-512 but not VNNI.
func TestWithoutVNNI(t *testing.T) {
	if !vnni || detect() != AVX512 {
		t.Skip("this machine has no VNNI: the other tests take this path")
	}
	vnni = false
	defer func() { vnni = true }()
	TestIntProduct(t)
}
