package ops

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"io"
	"strconv"
)

// pnm is the header of a file of the portable image formats: P1 to P3 hold numbers as text (bits, grey, colour), P4 to P6 as bytes,
// P7 (PAM) names its fields.
type pnm struct {
	kind, w, h int
	top        int // the value of full brightness
	depth      int // numbers an element
}

const maxPNM = 1 << 20

func configPNM(r io.Reader) (image.Config, error) {
	p, err := headerPNM(bufio.NewReader(r))
	return image.Config{ColorModel: color.RGBAModel, Width: p.w, Height: p.h}, err
}

// word reads the next run of characters that are no white space; # begins a comment up to the end of the line.
func word(r *bufio.Reader) (string, error) {
	var b []byte
	for {
		c, err := r.ReadByte()
		switch {
		case err != nil && len(b) > 0:
			return string(b), nil
		case err != nil:
			return "", err
		case c == '#' && len(b) == 0:
			if _, err := r.ReadString('\n'); err != nil {
				return "", err
			}
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if len(b) > 0 {
				return string(b), nil
			}
		case len(b) > 64:
			return "", fmt.Errorf("a word of more than 64 characters")
		default:
			b = append(b, c)
		}
	}
}

func numberPNM(r *bufio.Reader, most int) (int, error) {
	s, err := word(r)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err == nil && (n < 0 || n > most) {
		err = fmt.Errorf("the number %d", n)
	}
	return n, err
}

func headerPNM(r *bufio.Reader) (p pnm, err error) {
	s, err := word(r)
	if err != nil || len(s) != 2 || s[0] != 'P' || s[1] < '1' || s[1] > '7' {
		return p, fmt.Errorf("no portable image: %q", s)
	}
	p = pnm{kind: int(s[1] - '0'), top: 1, depth: 1}
	if p.kind == 7 {
		return p.fields(r)
	}
	if p.kind%3 == 0 {
		p.depth = 3
	}
	list := []*int{&p.w, &p.h}
	if p.kind != 1 && p.kind != 4 {
		list = append(list, &p.top)
	}
	for _, n := range list {
		if *n, err = numberPNM(r, maxPNM); err != nil {
			return p, err
		}
	}
	return p, p.check()
}

func (p pnm) check() error {
	if p.top < 1 || p.top > 1<<16-1 || p.depth < 1 || p.depth > 4 || p.w > maxPNM || p.h > maxPNM {
		return fmt.Errorf("portable image of %d x %d x %d with values up to %d", p.w, p.h, p.depth, p.top)
	}
	return nil
}

func (p pnm) fields(r *bufio.Reader) (pnm, error) {
	fields := map[string]*int{"WIDTH": &p.w, "HEIGHT": &p.h, "MAXVAL": &p.top, "DEPTH": &p.depth}
	for {
		s, err := word(r)
		if err != nil {
			return p, err
		}
		if s == "ENDHDR" {
			return p, p.check()
		}
		n, known := fields[s]
		if !known {
			if _, err := word(r); err != nil { // TUPLTYPE says only what the depth means
				return p, err
			}
			continue
		}
		if *n, err = numberPNM(r, maxPNM); err != nil {
			return p, err
		}
	}
}

func decodePNM(in io.Reader) (*picture, error) {
	r := bufio.NewReader(in)
	p, err := headerPNM(r)
	if err != nil {
		return nil, err
	}
	out := newPicture(p.w, p.h)
	values := make([]int, p.depth)
	for y := range p.h {
		next := p.reader(r)
		for x := range p.w {
			for k := range values {
				v, err := next()
				if err != nil {
					return nil, err
				}
				values[k] = min(v, p.top) * 255 / p.top
			}
			red, green, blue := values[0], values[0], values[0]
			if p.depth >= 3 {
				green, blue = values[1], values[2]
			}
			out.set(x, y, uint8(red), uint8(green), uint8(blue))
		}
	}
	return out, nil
}

// reader gives the numbers of one row.
func (p pnm) reader(r *bufio.Reader) func() (int, error) {
	switch {
	case p.kind == 1:
		return func() (int, error) { // bits may stand without space between them, and 1 is black
			for {
				c, err := r.ReadByte()
				if err != nil || c == '0' || c == '1' {
					return int('1') - int(c), err
				}
			}
		}
	case p.kind < 4:
		return func() (int, error) { return numberPNM(r, 1<<16) }
	case p.kind == 4:
		var bits, left int
		return func() (int, error) { // each row begins a new byte
			if left == 0 {
				c, err := r.ReadByte()
				if err != nil {
					return 0, err
				}
				bits, left = int(c), 8
			}
			left--
			return 1 - bits>>left&1, nil
		}
	}
	return func() (int, error) {
		v, err := r.ReadByte()
		if err != nil || p.top < 256 {
			return int(v), err
		}
		low, err := r.ReadByte()
		return int(v)<<8 | int(low), err
	}
}
