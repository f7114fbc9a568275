package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/obc-onnx/obc/internal/report"
)

// app is one run of the program: where it prints and the flags of all commands.
type app struct {
	out, err  io.Writer
	json      bool
	quiet     bool
	threads   int
	logFormat string
	started   bool // the command line is understood, the command itself runs
	log       *slog.Logger
	progress  *progress
	timings   []timing // kept for --json
}

// start checks the flags of all commands.
func (a *app) start() error {
	switch a.logFormat {
	case "text":
	case "json":
		a.log = slog.New(slog.NewJSONHandler(a.err, nil))
	default:
		return badUsage("--log-format is %q, expected text or json", a.logFormat)
	}
	if a.threads < 0 {
		return badUsage("--threads is %d, expected 0 (one for each CPU) or more", a.threads)
	}
	if a.threads == 0 {
		a.threads = runtime.GOMAXPROCS(0)
	}
	a.started = true
	return nil
}

// note tells something worth knowing.
func (a *app) note(format string, args ...any) { a.line(slog.LevelInfo, "note: ", format, args...) }

// warn tells something that may spoil the result.
func (a *app) warn(format string, args ...any) { a.line(slog.LevelWarn, "warning: ", format, args...) }

func (a *app) logError(err error) { a.line(slog.LevelError, "error: ", "%v", err) }

func (a *app) line(level slog.Level, prefix, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if a.log != nil {
		a.log.Log(context.Background(), level, msg)
		return
	}
	fmt.Fprintf(a.progressWriter(), "obc: %s%s\n", prefix, msg)
}

// print writes the result: v as JSON when asked for, else what text prints.
func (a *app) print(v any, text func(w io.Writer, width int) error) error {
	if a.json {
		return report.JSON(a.out, v)
	}
	return text(a.out, width(a.out))
}

// width is the number of columns of the terminal behind w, 0 when it is none.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// version is the module's version, "devel" with the commit when built from a working copy.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

// oneOf checks a flag's value.
func oneOf(flag, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return badUsage("--%s is %q, expected one of %s", flag, value, strings.Join(allowed, ", "))
}

// parseSize reads a number of bytes: "512MiB", "4GB", "1000".
func parseSize(flag, s string) (int64, error) {
	units := map[string]float64{"": 1, "b": 1, "k": 1 << 10, "kb": 1e3, "kib": 1 << 10, "m": 1 << 20, "mb": 1e6, "mib": 1 << 20,
		"g": 1 << 30, "gb": 1e9, "gib": 1 << 30, "t": 1 << 40, "tb": 1e12, "tib": 1 << 40}
	end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	unit, known := units[strings.ToLower(strings.TrimSpace(s[end:]))]
	if err != nil || !known || n <= 0 || n*unit >= 1<<62 {
		return 0, badUsage("--%s is %q, expected a size such as 512MiB or 4GB", flag, s)
	}
	return int64(n * unit), nil
}

// parseShare reads "0.01" or "1%".
func parseShare(flag, s string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	x, err := strconv.ParseFloat(number, 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x <= 1) {
		return 0, badUsage("--%s is %q, expected a share such as 1%% or 0.01", flag, s)
	}
	return x, nil
}
