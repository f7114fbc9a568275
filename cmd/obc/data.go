package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/suggest"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
)

// dataFlags say how data is read; calibration and evaluation share them.
type dataFlags struct {
	samples, batch int
	seed           uint64
	mask           string
	preprocess     string
}

func (d *dataFlags) add(f *pflag.FlagSet) {
	f.IntVar(&d.samples, "samples", 0, "use so many samples, chosen by --seed (0 = all)")
	f.IntVar(&d.batch, "batch", 0, "samples that go through the model at a time (0 = chosen by their size)")
	f.Uint64Var(&d.seed, "seed", 0, "chooses the samples, and the values of random data")
	f.StringVar(&d.preprocess, "preprocess", "", "how pictures become inputs: a YAML file, or its content such as 'resize: [256], crop: [224], scale: 0.00392157, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]'")
}

// addMask adds the flag of commands to which padding matters.
func (d *dataFlags) addMask(f *pflag.FlagSet) {
	f.StringVar(&d.mask, "mask", "", "integer input that is 0 at padded positions, which then do not count (default attention_mask if there is one; \"none\" = all count)")
}

// noMask takes the flag where padding is computed like all else, without listing it: scripts give the same flags to every command.
func (d *dataFlags) noMask(f *pflag.FlagSet) {
	d.addMask(f)
	d.mask = "none"
	f.Lookup("mask").Hidden = true
}

// open opens the data for the model g and passes on its notes and warnings.
func (d *dataFlags) open(a *app, flag, spec string, g *graph.Graph) (*calib.Set, error) {
	if d.samples < 0 || d.batch < 0 {
		return nil, badUsage("--samples and --batch may not be negative")
	}
	o := calib.Options{Samples: d.samples, Batch: d.batch, Seed: d.seed, Mask: d.mask}
	if d.preprocess != "" {
		p, err := readPreprocess(d.preprocess)
		if err != nil {
			return nil, err
		}
		o.Preprocess = p
	}
	set, err := calib.Open(spec, g, o)
	if err != nil {
		return nil, badUsage("--%s: %w", flag, err)
	}
	for _, n := range set.Notes {
		a.note("%s: %s", spec, n)
	}
	for _, w := range set.Warnings {
		a.warn("%s: %s", spec, w)
	}
	return set, nil
}

// readPreprocess reads a YAML file, or the flag's value itself as YAML, with or without its braces.
func readPreprocess(value string) (*calib.Preprocess, error) {
	text, from := []byte(value), "--preprocess"
	if data, err := os.ReadFile(value); err == nil {
		text, from = data, value
	} else if strings.HasSuffix(value, ".yaml") || strings.HasSuffix(value, ".yml") {
		return nil, badUsage("--preprocess: %w", err)
	} else if !strings.HasPrefix(strings.TrimSpace(value), "{") && !strings.Contains(value, "\n") {
		text = []byte("{" + value + "}")
	}
	p := new(calib.Preprocess)
	if err := yaml.UnmarshalWithOptions(text, p, yaml.Strict()); err != nil {
		return nil, input(suggest.YAML(from, err, func(key string) string {
			return suggest.Key(key, suggest.Keys(reflect.TypeFor[calib.Preprocess]()))
		}))
	}
	var content any
	if err := yaml.Unmarshal(text, &content); err == nil {
		if path, x := suggest.Fraction(content, reflect.TypeOf(p)); path != "" {
			return nil, badUsage("%s: %s is %v: give a whole number", from, strings.TrimPrefix(path, "$."), x)
		}
	}
	if err := p.Validate(); err != nil {
		return nil, badUsage("%s: %w", from, err)
	}
	return p, nil
}

// oneModel is the argument check of commands that take a model file.
func oneModel(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one model file, %d arguments were given: %s", c.Name(), len(args), c.UseLine())
	}
	return nil
}

// loadModel reads a model and its graph, with the bodies of its functions in the place of their calls.
func loadModel(path string) (*onnxio.Model, *graph.Graph, error) {
	m, err := onnxio.Load(path)
	if err != nil {
		return nil, nil, input(err)
	}
	own := m
	if len(m.Proto.Functions) > 0 {
		own = m.Clone()
	}
	if _, err := convert.Inline(own); err != nil {
		return nil, nil, input(err)
	}
	g, err := graph.New(own)
	if err != nil {
		return nil, nil, input(err)
	}
	runtime.GC() // what was read is decoded: its memory serves what comes
	return m, g, nil
}

// executor reads a model and makes it ready to run.
func (a *app) executor(path string) (*exec.Executor, *graph.Graph, error) {
	return a.executorWith(path, exec.Options{Threads: a.threads})
}

// executorWith is executor with other options.
func (a *app) executorWith(path string, o exec.Options) (*exec.Executor, *graph.Graph, error) {
	_, g, err := loadModel(path)
	if err != nil {
		return nil, nil, err
	}
	e, err := exec.New(g, o)
	if err != nil {
		return nil, nil, badUsage("%s: %w", path, err)
	}
	return e, g, nil
}

// outputNamed is the output to score: the named one, or the first.
func outputNamed(g *graph.Graph, name string) (string, error) {
	if len(g.Outputs) == 0 {
		return "", badUsage("the model has no outputs")
	}
	if name == "" {
		return g.Outputs[0].Name, nil
	}
	var names []string
	for _, v := range g.Outputs {
		if v.Name == name {
			return name, nil
		}
		names = append(names, fmt.Sprintf("%q", v.Name))
	}
	return "", badUsage("--output: the model has no output %q; it has %s", name, strings.Join(names, ", "))
}
