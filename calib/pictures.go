package calib

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // decoders register themselves
	_ "image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// pictures reads a folder, with its subfolders, of PNG, JPEG, WebP and BMP files in the order of their paths. Files are decoded
// when a batch wants them. Hidden files and folders, as some systems leave them beside pictures, are none.
type pictures struct {
	root  string
	files []string
	pre   *Preprocess
	shape []int // of one sample
	notes []string
}

var pictureExts = []string{".png", ".jpg", ".jpeg", ".webp", ".bmp"}

func isPictures(path string, info os.FileInfo) bool {
	if !info.IsDir() {
		return slices.Contains(pictureExts, strings.ToLower(filepath.Ext(path)))
	}
	found := errors.New("found")
	return walkPictures(path, func(string) error { return found }) == found
}

func walkPictures(root string, fn func(file string) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !slices.Contains(pictureExts, strings.ToLower(filepath.Ext(path))) || strings.HasPrefix(d.Name(), ".") && path != root {
			return err
		}
		return fn(path)
	})
}

func openPictures(path string, inputs []*graph.Value, o Options) (reader, error) {
	if o.Preprocess == nil {
		return nil, fmt.Errorf("holds pictures, and how they become the model's input is not said: declare a preprocessing "+
			"(resize, crop, channels, scale, mean, std, layout) as in training%s", wanted(inputs))
	}
	if len(inputs) != 1 {
		return nil, fmt.Errorf("pictures can feed a model of one input, this one has %d: save all of them in an .npz", len(inputs))
	}
	p := &pictures{root: path, pre: o.Preprocess}
	if err := walkPictures(path, func(f string) error { p.files = append(p.files, f); return nil }); err != nil {
		return nil, err
	}
	first, err := p.decode(p.files[0])
	if err != nil {
		return nil, err
	}
	p.shape = p.pre.shape(first.Bounds().Dy(), first.Bounds().Dx())
	if _, deep := first.(*image.Gray16); deep {
		p.notes = append(p.notes, fmt.Sprintf("picture %s has 16 bits of gray: values above 255 count as 255, which is what Pillow's convert(\"RGB\") gives training; "+
			"save 8-bit pictures, or an .npz of float32, if the model was trained on others", p.fileOf(0)))
	}
	return p, nil
}

func (p *pictures) warnings() (notes, warnings []string) { return p.notes, nil }

// cutGray makes 8 bits of a picture with 16 bits of gray as Pillow does when asked for RGB, and with it torchvision's folders: the values
// stay, those above 255 are cut off. Colour of 16 bits keeps its upper byte there, as image/draw has it too.
func cutGray(pic image.Image) image.Image {
	deep, ok := pic.(*image.Gray16)
	if !ok {
		return pic
	}
	out := image.NewGray(deep.Rect)
	for i := range out.Pix {
		if out.Pix[i] = deep.Pix[2*i+1]; deep.Pix[2*i] > 0 {
			out.Pix[i] = 255
		}
	}
	return out
}

func wanted(inputs []*graph.Value) string {
	if len(inputs) != 1 {
		return ""
	}
	return fmt.Sprintf("; the model expects %v%v", inputs[0].Type, inputs[0].Shape)
}

// nameOf is what messages call a file: its path below the folder.
func (p *pictures) nameOf(file string) string {
	name, err := filepath.Rel(p.root, file)
	if err != nil || name == "." {
		return filepath.Base(file)
	}
	return name
}

func (p *pictures) fileOf(row int) string { return p.nameOf(p.files[row]) }

// decode reads one picture. Its size is looked at before memory is taken for it.
func (p *pictures) decode(file string) (image.Image, error) {
	name := p.nameOf(file)
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("picture %s: %w", name, plain(err))
	}
	defer f.Close()
	cfg, kind, err := image.DecodeConfig(f)
	if err != nil {
		return nil, fmt.Errorf("picture %s cannot be decoded: %w", name, err)
	}
	if cfg.Width > maxSide || cfg.Height > maxSide || cfg.Width < 1 || cfg.Height < 1 {
		return nil, fmt.Errorf("picture %s says it is %d x %d; up to %d x %d is read", name, cfg.Width, cfg.Height, maxSide, maxSide)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	img, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("picture %s (%s) cannot be decoded: %w", name, kind, err)
	}
	return img, nil
}

func (p *pictures) columns() []column {
	return []column{{Type: onnxio.Float32, Shape: append([]int{len(p.files)}, p.shape...)}}
}

func (p *pictures) read(ctx context.Context, _ string, idx []int) (*onnxio.Tensor, error) {
	return p.pre.tensor(p.shape, idx, p.fileOf, func(row int) (image.Image, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		img, err := p.decode(p.files[row])
		return cutGray(img), err
	})
}

func (p *pictures) close() error { return nil }

// rawPictures treats the uint8 arrays of another source, shaped [rows, height, width, channels] or [rows, height, width], as
// pictures to be preprocessed.
type rawPictures struct {
	reader
	pre  *Preprocess
	cols []column
	raw  map[string][3]int // height, width, channels of a column that is converted
}

func preprocessed(r reader, pre *Preprocess) (reader, error) {
	w := &rawPictures{reader: r, pre: pre, raw: map[string][3]int{}}
	for _, c := range r.columns() {
		if s := c.Shape; c.Type == onnxio.Uint8 && !c.Feeds && (len(s) == 3 || len(s) == 4 && slices.Contains([]int{1, 3, 4}, s[3])) {
			ch := 1
			if len(s) == 4 {
				ch = s[3]
			}
			if s[1] < 1 || s[2] < 1 || s[1] > maxSide || s[2] > maxSide {
				r.close()
				return nil, fmt.Errorf("array %q: %d x %d is no size of a picture", c.Name, s[1], s[2])
			}
			w.raw[c.Name] = [3]int{s[1], s[2], ch}
			c = column{Name: c.Name, Type: onnxio.Float32, Shape: append([]int{s[0]}, pre.shape(s[1], s[2])...)}
		}
		w.cols = append(w.cols, c)
	}
	if len(w.raw) == 0 {
		r.close()
		return nil, fmt.Errorf("a preprocessing is declared, but there is no uint8 array of pictures [rows, height, width, channels] to apply it to: leave it out if the values are ready for the model")
	}
	return w, nil
}

func (w *rawPictures) columns() []column { return w.cols }

func (w *rawPictures) read(ctx context.Context, name string, idx []int) (*onnxio.Tensor, error) {
	t, err := w.reader.read(ctx, name, idx)
	d, ok := w.raw[name]
	if err != nil || !ok {
		return t, err
	}
	pix, size := t.Data.([]uint8), d[0]*d[1]*d[2]
	at := 0
	name = "array " + name
	return w.pre.tensor(w.pre.shape(d[0], d[1]), idx, func(int) string { return name }, func(int) (image.Image, error) {
		at += size
		return bytesPicture(pix[at-size:at], d[0], d[1], d[2]), nil
	})
}
