package passes_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/cmd/obc/demo"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/passes"
)

// Prune a network to 2:4 in the fast fixed order on a few samples, and write it.
func Example() {
	dir, err := os.MkdirTemp("", "obc")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(path, demo.Model, 0o666); err != nil {
		log.Fatal(err)
	}

	model, err := onnxio.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	g, err := graph.New(model)
	if err != nil {
		log.Fatal(err)
	}
	data, err := calib.Open("random", g, calib.Options{Samples: 4})
	if err != nil {
		log.Fatal(err)
	}
	recipe := passes.DefaultRecipe()
	recipe.NM, recipe.Method, recipe.Correction = "2:4", "gptq", "none"
	result, err := passes.Compress(context.Background(), model, data, recipe, passes.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := result.Model.Save(filepath.Join(dir, "out.onnx"), onnxio.SaveOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d layers, %.0f%% zeros\n", len(result.Report.Layers), 100*result.Report.Compressed.Sparsity)
	// Output: 15 layers, 50% zeros
}
