package terminal

import (
	"fmt"
	"io"
	"os"
)

// Progress is a status line that is overwritten in place. It prints nothing if
// the output is not a terminal.
type Progress struct {
	w       io.Writer
	enabled bool
	visible bool
}

// NewProgress returns a progress line on w.
func NewProgress(w io.Writer) *Progress {
	if t, ok := w.(*Writer); ok {
		w = t.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return &Progress{w: w}
	}
	info, err := f.Stat()
	return &Progress{w: w, enabled: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// Show replaces the line.
func (p *Progress) Show(line string) {
	if p.enabled {
		fmt.Fprintf(p.w, "\r\x1b[K%s", Line(line))
		p.visible = true
	}
}

// Clear removes the line.
func (p *Progress) Clear() {
	if p.visible {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
