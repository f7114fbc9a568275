// Command _gen writes the assembly of package kernel. Every generator function is parametrised by the vector width, so that the
// AVX2 and the AVX-512 forms of a kernel have one structure.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// groups are the files to write: NAME_amd64.s and NAME_amd64.go with its declarations.
var groups = []struct {
	name string
	gen  func(*gen)
}{
	{"gemm", gemm},
	{"conv", conv},
	{"integer", integer},
	{"nbits", nbits},
	{"elementwise", elementwise},
	{"functions", functions},
	{"mirror", (*gen).sumMirrored},
	{"pause", pause},
}

func main() {
	out := flag.String("dir", "..", "folder of package kernel") // avo owns -out
	flag.Parse()
	for _, g := range groups {
		ctx := build.NewContext()
		ctx.ConstraintExpr("amd64,!noasm")
		data := map[string]operand.Mem{}
		for _, width := range []int{32, 64} {
			g.gen(&gen{Context: ctx, width: width, data: data})
		}
		file, err := ctx.Result()
		if err != nil {
			log.Fatal(err)
		}
		if err := write(*out, g.name, file); err != nil {
			log.Fatal(err)
		}
	}
}

// write compiles file and stores assembly and declarations.
func write(out, name string, file *ir.File) error {
	if err := pass.Compile.Execute(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	cfg := printer.Config{Name: "internal/kernel/_gen", Argv: []string{"go", "generate"}, Pkg: "kernel"}
	asm, err := printer.NewGoAsm(cfg).Print(file)
	if err != nil {
		return err
	}
	stubs, err := printer.NewStubs(cfg).Print(file)
	if err != nil {
		return err
	}
	if stubs, err = format.Source(bytes.TrimSpace(stubs)); err != nil {
		return err
	}
	path := filepath.Join(out, name+"_amd64")
	if err := os.WriteFile(path+".s", asm, 0o644); err != nil {
		return err
	}
	return os.WriteFile(path+".go", stubs, 0o644)
}
