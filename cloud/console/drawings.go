package console

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"

	"valence/cloud"
	"valence/processes/drawing"
)

// Limits of the drawings in memory.
const (
	maxDrawings     = 64
	maxDrawingBytes = 256 << 10 // of one; larger ones are drawn each time
	maxListed       = 200       // processes on the page of a deployment
)

// drawings holds the drawings that were shown last. A package never changes, so
// neither do they.
type drawings struct {
	slot chan struct{} // holds a token while a package is checked, one at a time

	mu  sync.Mutex
	all []*drawn // the most recent last
}

// drawn is the drawing of a process.
type drawn struct {
	pack, process string
	svg           []byte
	mermaid       string
}

func (d *drawings) find(pack, process string) *drawn {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.all, func(x *drawn) bool { return x.pack == pack && x.process == process })
	if i < 0 {
		return nil
	}
	x := d.all[i]
	d.all = append(slices.Delete(d.all, i, i+1), x)
	return x
}

func (d *drawings) add(x *drawn) {
	if len(x.svg)+len(x.mermaid) > maxDrawingBytes {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all = append(d.all, x); len(d.all) > maxDrawings {
		d.all = slices.Delete(d.all, 0, 1)
	}
}

// draw returns the drawing of a process of a package that the visitor may read.
func (c *console) draw(v *visit, x *cloud.Package, process string) (*drawn, error) {
	if found := c.drawings.find(x.SHA256, process); found != nil {
		return found, nil
	}
	select {
	case c.drawings.slot <- struct{}{}:
	case <-v.Context().Done():
		return nil, v.Context().Err()
	}
	defer func() { <-c.drawings.slot }()
	if found := c.drawings.find(x.SHA256, process); found != nil {
		return found, nil
	}
	project, err := c.Service.Packages.Project(v.Context(), v.p, x.ID)
	if err != nil {
		return nil, err
	}
	p := project.Processes[process]
	if p == nil {
		return nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: x.Project + " " + x.Version + " has no process " + process}
	}
	var svg, mermaid bytes.Buffer
	if err := errors.Join(drawing.SVG(&svg, project, p), drawing.Mermaid(&mermaid, project, p)); err != nil {
		return nil, err
	}
	made := &drawn{pack: x.SHA256, process: process, svg: svg.Bytes(), mermaid: mermaid.String()}
	c.drawings.add(made)
	return made, nil
}

// processData is a process of a package.
type processData struct {
	Package cloud.Package
	Name    string
	Drawing string // path
	Mermaid string
}

func (c *console) process(v *visit) (*answer, error) {
	x, err := c.Service.Packages.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	name := v.URL.Query().Get("name")
	d, err := c.draw(v, &x, name)
	if err != nil {
		return nil, err
	}
	return &answer{page: "process", title: name, data: &processData{x, name, "/packages/" + url.PathEscape(x.ID) + "/drawing?name=" + url.QueryEscape(name), d.mermaid}}, nil
}

// drawing serves the drawing itself. As an image it needs no script, and the
// policy of the page does not apply to its colors.
func (c *console) drawing(v *visit) (*answer, error) {
	x, err := c.Service.Packages.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d, err := c.draw(v, &x, v.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return &answer{image: d.svg}, nil
}

// processes returns the names of the first processes of a package.
func (c *console) processes(v *visit, x *cloud.Package) ([]string, error) {
	var names []string
	for _, id := range x.Components[:min(len(x.Components), maxListed)] {
		component, err := c.Service.Packages.Component(v.Context(), v.p, id)
		if err != nil {
			return nil, err
		}
		names = append(names, component.Name)
	}
	slices.SortFunc(names, strings.Compare)
	return names, nil
}
