package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

func TestLogPlot(t *testing.T) {
	p := LogPlot{Title: "a < b", X: "x", Y: "y"}
	c := Curve{Name: "cubic"}
	for _, x := range []float64{1, 10, 100} {
		c.Add(x, 2*x*x*x)
	}
	if e := c.Exponent(1); math.Abs(e-3) > 1e-12 {
		t.Errorf("exponent %v, want 3", e)
	}
	if e := c.Exponent(50); !math.IsNaN(e) {
		t.Errorf("exponent of one point is %v", e)
	}
	p.Add(c)
	p.Add(c)
	if len(p.Curves) != 1 {
		t.Errorf("%d curves", len(p.Curves))
	}
	var b bytes.Buffer
	if err := p.SVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a &lt; b", "cubic", "80.0,460.0", "840.0,46.0", ">1000<"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
