package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/spf13/cobra"
)

func (a *app) benchHessianCommand() *cobra.Command {
	var convs, linears []string
	var images, count int
	var step bool
	c := &cobra.Command{
		Use:   "hessian",
		Short: "Time the Hessians of layers",
		Long: `Time how long the Hessian of a layer's input takes, 2/N sum x x^T, from the input in memory: of convolutions of stride 1 with padding
(channels x image size x kernel size), and of matrix products (rows x columns of the input).`,
		Example: "  obc bench hessian --conv 64x56x3 --linear 4096x1024 --count 5",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if count < 1 || images < 1 {
				return badUsage("--count is %d and --images %d, expected 1 or more", count, images)
			}
			var turns *bufio.Scanner
			if step {
				turns = bufio.NewScanner(os.Stdin)
			}
			for _, s := range convs {
				n, err := sizes("conv", s, 3)
				if err != nil {
					return err
				}
				shape := []int{images, n[0], n[1], n[1]}
				if err := a.timeHessian("conv="+s, convLayer(n[0], n[2]), shape, count, turns); err != nil {
					return err
				}
			}
			for _, s := range linears {
				n, err := sizes("linear", s, 2)
				if err != nil {
					return err
				}
				if err := a.timeHessian("linear="+s, linearLayer(n[1]), n, count, turns); err != nil {
					return err
				}
			}
			return a.printTimings()
		},
	}
	f := c.Flags()
	f.StringSliceVar(&convs, "conv", []string{"64x56x3", "128x28x3", "256x14x3", "512x7x3"}, "channels x image size x kernel size")
	f.StringSliceVar(&linears, "linear", []string{"8192x1024"}, "rows x columns")
	f.IntVar(&images, "images", 32, "images of a convolution's input")
	f.IntVar(&count, "count", 3, "number of timed runs of each")
	f.BoolVar(&step, "step", false, "wait for a line on standard input before each run; end of input ends the command")
	return c
}

// sizes reads "AxBx...", n numbers.
func sizes(flag, s string, n int) ([]int, error) {
	var out []int
	for _, p := range strings.Split(s, "x") {
		v, err := strconv.Atoi(p)
		if err != nil || v < 1 || v > 1<<15 {
			return nil, badUsage("--%s is %q, expected %d numbers with x between them, each 1 to %d", flag, s, n, 1<<15)
		}
		out = append(out, v)
	}
	if len(out) != n {
		return nil, badUsage("--%s is %q, expected %d numbers with x between them", flag, s, n)
	}
	return out, nil
}

// convLayer is a model of one convolution of stride 1 whose output is as large as its input; linearLayer of one matrix product.
func convLayer(channels, kernel int) *onnxio.Model {
	pad := int64(kernel / 2)
	return testmodel.New(18).Input("x", onnxio.Float32).Init("w", onnxio.NewTensor(onnxio.Float32, 1, channels, kernel, kernel)).
		Node("Conv", "x w -> y", "pads", []int64{pad, pad, pad, pad}).Outputs("y").Model()
}

func linearLayer(columns int) *onnxio.Model {
	return testmodel.New(18).Input("x", onnxio.Float32).Init("w", onnxio.NewTensor(onnxio.Float32, columns, 1)).
		Node("MatMul", "x w -> y").Outputs("y").Model()
}

// timeHessian prints one benchstat line a run on random input of the given shape.
func (a *app) timeHessian(name string, m *onnxio.Model, shape []int, count int, turns *bufio.Scanner) error {
	g, err := graph.New(m)
	if err != nil {
		return err
	}
	layers, skipped := graph.Layers(g)
	if len(layers) != 1 {
		return fmt.Errorf("%s makes no layer: %v", name, skipped)
	}
	x := onnxio.NewTensor(onnxio.Float32, shape...)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x.Float32s() {
		x.Float32s()[i] = r.Float32() - 0.5
	}
	for i := -1; i < count; i++ { // -1: not timed
		if i >= 0 && turns != nil && !turns.Scan() {
			return nil
		}
		sum := calib.NewHessianSum(layers[0], a.threads)
		start := time.Now()
		if err := sum.Add(x); err != nil {
			return err
		}
		sum.Hessians()
		if ns := time.Since(start).Nanoseconds(); i >= 0 {
			a.timed(fmt.Sprintf("BenchmarkHessian/%s/samples=%d/threads=%d", name, shape[0], a.threads), measured("%d", ns, "ns/op"))
		}
	}
	return nil
}
