package passes

import (
	"math"
	"slices"
)

// channelStats is what is known of a value's channels.
type channelStats struct {
	lo, hi []float32 // least and greatest value, zero included
	power  []float64 // mean of the squares
	n      int       // values a channel
}

// add takes values in, inner of one channel side by side.
func (s *channelStats) add(x []float32, inner int) {
	c := 0
	for ; len(x) >= inner && inner > 0; x = x[inner:] {
		sum := 0.0
		for _, v := range x[:inner] {
			s.lo[c], s.hi[c] = min(s.lo[c], v), max(s.hi[c], v)
			sum += float64(v) * float64(v)
		}
		if s.power[c] += sum; c+1 == len(s.lo) {
			c = 0
			s.n += inner
			continue
		}
		c++
	}
}

// most is the largest magnitude of each channel.
func (s *channelStats) most() []float32 {
	m := make([]float32, len(s.lo))
	for c := range m {
		m[c] = max(-s.lo[c], s.hi[c])
	}
	return m
}

// spread is what each channel of a value is divided by, nil when it stays as it is. folds tells whether the division costs nothing.
func (e equalize) spread(stats *channelStats, readers []*LayerState, folds bool) ([]float32, error) {
	if !e.auto {
		return spread(stats.most(), e.strength), nil
	}
	p := predictor{stats: stats}
	for _, l := range readers {
		if err := p.add(l); err != nil {
			return nil, err
		}
	}
	gain := leastGain
	if !folds {
		gain = leastMulGain
	}
	ones := slices.Repeat([]float32{1}, len(stats.lo))
	var best []float32
	least := (1 - gain) * p.error(ones)
	for _, heavy := range [][]float32{stats.most(), p.balance(stats.most())} {
		for k := 1; k <= spreadSteps; k++ {
			by := spread(heavy, float64(k)/spreadSteps)
			if by == nil {
				continue
			}
			if err := p.error(by); err < least {
				best, least = by, err
			}
		}
	}
	return best, nil
}

const (
	spreadSteps = 10 // strengths that are tried: 0.1, 0.2, ...
	// leastGain is the share of the predicted error that a spread must save, leastMulGain where it costs a Mul.
	leastGain    = 0.02
	leastMulGain = 0.25
)

// spread is (most / greatest most)^strength, nil when there is nothing to do.
func spread(most []float32, strength float64) []float32 {
	top := slices.Max(most)
	if !(top > 0) || math.IsInf(float64(top), 1) {
		return nil
	}
	by := make([]float32, len(most))
	for c, m := range most {
		by[c] = float32(math.Pow(math.Max(float64(m/top), leastSpread), strength))
	}
	return by
}

// predictor foretells the error at the outputs of the layers that read a value, were it divided by a spread and rounded.
type predictor struct {
	stats   *channelStats
	bits    int       // of the value's codes
	weights []float64 // by channel: sum of squares of the weights that it meets, over all layers
	widest  []float32 // by channel: greatest magnitude of these
	rows    []predictedRow
}

// predictedRow is what a row of a layer brings to the error.
type predictedRow struct {
	first int       // channel that its weights begin at
	most  []float32 // by channel: greatest magnitude of its weights
	share float64   // kernel positions / (codes from zero to the end of its range)^2
}

// add takes in the weights of a layer.
func (p *predictor) add(l *LayerState) error {
	w, err := l.Matrix()
	if err != nil {
		return err
	}
	n := len(p.stats.lo)
	if p.weights == nil {
		p.weights, p.widest = make([]float64, n), make([]float32, n)
	}
	share := 0.0 // float weights are not rounded
	if b := l.Plan.Weights.Bits; b > 0 {
		steps := float64(int(1)<<(b-1) - 1)
		share = float64(l.Cols/l.ChannelsIn) / (steps * steps)
	}
	for r := range l.Groups * l.Rows {
		row := predictedRow{r / l.Rows * l.ChannelsIn, make([]float32, l.ChannelsIn), share}
		for i, v := range w[r*l.Cols : (r+1)*l.Cols] {
			c := i % l.ChannelsIn
			k := row.first + c
			p.weights[k] += float64(v) * float64(v)
			row.most[c] = max(row.most[c], v, -v)
			p.widest[k] = max(p.widest[k], v, -v)
		}
		p.rows = append(p.rows, row)
	}
	if b := l.ActBits; b > 0 && (p.bits == 0 || b < p.bits) {
		p.bits = b
	}
	return nil
}

// balance is most over the greatest weight of each channel: a spread by it leaves inputs and weights equally wide at strength 1/2.
func (p *predictor) balance(most []float32) []float32 {
	out := make([]float32, len(most))
	for c, m := range most {
		if p.widest[c] > 0 {
			out[c] = m / p.widest[c]
		}
	}
	return out
}

// error is the sum over all outputs of the mean squared error, with errors of rounding uniform and independent, after channel c was divided by
// by[c] =: s_c and its weights were multiplied by it:
//
//	D^2/12 sum_c s_c^2 |W_c|^2  +  sum_r d_r^2/12 sum_c E[x_c^2]/s_c^2,
//	D = (max_c hi_c/s_c - min_c lo_c/s_c) / (2^bits - 1),  d_r = max_c |w_rc| s_c / steps
func (p *predictor) error(by []float32) float64 {
	lo, hi, inputs := 0.0, 0.0, 0.0
	power := make([]float64, len(by))
	for c, s := range by {
		s := float64(s)
		lo, hi = min(lo, float64(p.stats.lo[c])/s), max(hi, float64(p.stats.hi[c])/s)
		inputs += s * s * p.weights[c]
		power[c] = p.stats.power[c] / float64(max(1, p.stats.n)) / (s * s)
	}
	bits := p.bits
	if bits == 0 {
		bits = linkBits
	}
	step := (hi - lo) / float64(int(1)<<bits-1)
	sum := step * step * inputs
	for _, r := range p.rows {
		widest, met := float32(0), 0.0
		for c, m := range r.most {
			widest = max(widest, m*by[r.first+c])
			met += power[r.first+c]
		}
		sum += float64(widest) * float64(widest) * r.share * met
	}
	return sum / 12
}
