package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/internal/kernel"
)

func (a *app) benchKernelCommand() *cobra.Command {
	var shapes []string
	var count int
	var step bool
	c := &cobra.Command{
		Use:   "kernel",
		Short: "Time the float32 matrix product",
		Long: `Time C = A B in float32 for the given shapes, --count times each after one product that is not timed. The environment
variable OBC_KERNEL=generic|avx2|avx512 chooses the kernels. With --step it waits for a line on standard input before each product.`,
		Example: "  obc bench kernel --shape 1024x1024x1024 --shape 32x1024x1024 --threads 1",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if count < 1 {
				return badUsage("--count is %d, expected 1 or more", count)
			}
			var turns *bufio.Scanner
			if step {
				turns = bufio.NewScanner(os.Stdin)
			}
			for _, s := range shapes {
				m, n, k, err := parseProduct(s)
				if err != nil {
					return err
				}
				a.timeProduct(m, n, k, count, turns)
			}
			return a.printTimings()
		},
	}
	f := c.Flags()
	f.StringSliceVar(&shapes, "shape", []string{"512x512x512", "1024x1024x1024", "2048x2048x2048"}, "rows x columns x inner size of the product")
	f.IntVar(&count, "count", 10, "number of timed products of each shape")
	f.BoolVar(&step, "step", false, "wait for a line on standard input before each product; end of input ends the command")
	return c
}

// parseProduct reads "MxNxK".
func parseProduct(s string) (m, n, k int, err error) {
	parts := strings.Split(s, "x")
	size := make([]int, 3)
	for i := range size {
		if len(parts) == 3 {
			size[i], _ = strconv.Atoi(parts[i])
		}
		if size[i] < 1 || size[i] > 1<<15 {
			return 0, 0, 0, badUsage("--shape is %q, expected rows x columns x inner size, such as 512x512x512, each at most %d", s, 1<<15)
		}
	}
	return size[0], size[1], size[2], nil
}

// timeProduct prints one benchstat line a product.
func (a *app) timeProduct(m, n, k, count int, turns *bufio.Scanner) {
	rng := rand.New(rand.NewPCG(1, 2))
	x, y, z := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
	for _, s := range [][]float32{x, y} {
		for i := range s {
			s[i] = rng.Float32() - 0.5
		}
	}
	for i := -1; i < count; i++ { // -1: not timed
		if i >= 0 && turns != nil && !turns.Scan() {
			return
		}
		start := time.Now()
		kernel.Sgemm(false, false, m, n, k, 1, x, k, y, n, 0, z, n, a.threads)
		if ns := time.Since(start).Nanoseconds(); i >= 0 {
			a.timed(fmt.Sprintf("BenchmarkSgemm/%v/%dx%dx%d/threads=%d", kernel.Active(), m, n, k, a.threads),
				measured("%d", ns, "ns/op"), measured("%.1f", 2*float64(m)*float64(n)*float64(k)/float64(max(ns, 1)), "GFLOP/s"))
		}
	}
}
