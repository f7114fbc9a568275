package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/cmd/obc/demo"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/passes"
)

// demoBatch is how many images go through the model at a time.
const demoBatch = 50

func (a *app) demoCommand() *cobra.Command {
	var dir string
	var files bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Compress an embedded network: needs nothing else",
		Long: strings.TrimSpace(`
Compress an embedded network for pictures of clothes (Fashion-MNIST) to 2:4 sparsity and 8-bit weights and activations,
calibrated on 256 images, score it beside the dense one on 1,000 test images, and write obc-demo.onnx and the report
obc-demo.html. With --data the model and its data are written instead (demo.onnx, demo-calib.npz, demo-test.npz), to
try the other commands on.`),
		Example: `  obc demo
  obc demo --data && obc compress demo.onnx --calib demo-calib.npz --weights int4 --eval demo-test.npz -o small.onnx`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return badUsage("--out: %s is no folder: create it first", dir)
			}
			if files {
				return a.writeDemoData(c.Context(), dir)
			}
			return a.demo(c.Context(), dir)
		},
	}
	c.Flags().StringVar(&dir, "out", ".", "folder to write to")
	c.Flags().BoolVar(&files, "data", false, "write the embedded model and its data instead")
	return c
}

// demo compresses, scores and writes.
func (a *app) demo(ctx context.Context, dir string) error {
	out, page := filepath.Join(dir, "obc-demo.onnx"), filepath.Join(dir, "obc-demo.html")
	for _, file := range []string{out, page} {
		if err := checkOutput("out", file); err != nil {
			return err
		}
	}
	m, err := onnxio.Decode("demo.onnx", demo.Model)
	if err != nil {
		return err
	}
	images, err := demo.Calibration()
	if err != nil {
		return err
	}
	test, err := demo.Test()
	if err != nil {
		return err
	}
	recipe := passes.DefaultRecipe()
	recipe.NM, recipe.Weights.Bits, recipe.Activations.Bits = "2:4", 8, 8
	done, err := passes.Compress(ctx, m, images, recipe, passes.Options{Threads: a.threads, Batch: demoBatch, Version: version(), Progress: a.follow()})
	if err != nil {
		a.closeProgress()
		return err
	}
	a.finishProgress()
	defer done.Model.Close()
	text, err := yaml.Marshal(recipe)
	if err != nil {
		return err
	}
	r := &report.Run{Title: "obc demo: a Fashion-MNIST network, 2:4 and 8 bit", Input: "demo.onnx", Output: out,
		Calibration: "256 training images", Recipe: string(text), Report: done.Report}
	if r.Scores, err = a.scoreDemo(ctx, m, done.Model, test); err != nil {
		return err
	}
	if err := done.Model.Save(out, onnxio.SaveOptions{}); err != nil {
		return err
	}
	if err := writeFile(page, r.HTML); err != nil {
		return err
	}
	return a.print(r, func(w io.Writer, width int) error {
		if err := r.Text(w, width); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "written: %s, and the report %s\n", out, page)
		return err
	})
}

// scoreDemo scores both models on the test images.
func (a *app) scoreDemo(ctx context.Context, m, small *onnxio.Model, test *demo.Images) ([]report.Score, error) {
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	r, err := a.evaluatePair(ctx, g, small, test, demoBatch, test.Labels)
	if err != nil {
		return nil, err
	}
	ms := 1000 / float64(r.Samples)
	return append(scoreRows(r), report.NewScore("time per image in obc run", "ms", ms*r.ReferenceSeconds, ms*r.Seconds)), nil
}

// writeDemoData writes the embedded model and its data as files.
func (a *app) writeDemoData(ctx context.Context, dir string) error {
	var written []string
	write := func(name string, fn func(io.Writer) error) error {
		written = append(written, filepath.Join(dir, name))
		return writeFile(written[len(written)-1], fn)
	}
	err := write("demo.onnx", func(w io.Writer) error { _, err := w.Write(demo.Model); return err })
	for _, set := range []struct {
		name string
		load func() (*demo.Images, error)
	}{{"demo-calib.npz", demo.Calibration}, {"demo-test.npz", demo.Test}} {
		if err != nil {
			break
		}
		err = write(set.name, func(w io.Writer) error { return writeImages(ctx, w, set.load) })
	}
	if err != nil {
		return err
	}
	return a.print(written, func(w io.Writer, _ int) error {
		_, err := fmt.Fprintf(w, "written: %s\n", strings.Join(written, ", "))
		return err
	})
}

// writeImages writes images, and their classes as the array "label" where they are known.
func writeImages(ctx context.Context, w io.Writer, load func() (*demo.Images, error)) error {
	images, err := load()
	if err != nil {
		return err
	}
	arrays, err := images.Batch(ctx, 0, images.Len())
	if err != nil {
		return err
	}
	if images.Labels != nil {
		arrays["label"] = onnxio.TensorOf(images.Labels, len(images.Labels))
	}
	return calib.WriteNPZ(w, arrays)
}
