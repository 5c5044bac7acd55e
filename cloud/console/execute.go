package console

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"valence/cloud"
)

// executeData is the form that has a process executed.
type executeData struct {
	Atoms     []*row // that are offered to choose from
	Atom      *cloud.Atom
	Text      string // what was written for the atom
	Processes []cloud.Component
	Process   string // id
	Props     []prop
	Document  string
	Type      string
	Types     []string
	Key       string // so that a form that is sent twice runs once
	Problem   string
}

type prop struct{ Name, Value string }

// maxAtoms is how many are offered to choose from.
const maxAtoms = 200

var documentTypes = []string{"application/json", "application/xml", "text/csv", "text/plain"}

func (c *console) executePage(v *visit) (*answer, error) {
	q := v.URL.Query()
	d := &executeData{Text: strings.TrimSpace(q.Get("atom")), Process: q.Get("process")}
	if id := q.Get("request"); id != "" { // with the properties of an earlier one
		r, err := c.Service.Request(v.Context(), v.p, id)
		if err != nil {
			return nil, err
		}
		d.Props = propsOf(r.Props)
	}
	return c.executeForm(v, d)
}

// propsOf gives the properties of a request as the form has them: texts.
func propsOf(object json.RawMessage) []prop {
	var all map[string]json.RawMessage
	if len(object) == 0 || json.Unmarshal(object, &all) != nil {
		return nil
	}
	var props []prop
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var text string
		if json.Unmarshal(all[name], &text) != nil {
			text = string(all[name])
		}
		props = append(props, prop{name, text})
	}
	return props
}

func (c *console) executeForm(v *visit, d *executeData) (*answer, error) {
	a := &answer{page: "execute", title: "Execute a process", data: d}
	d.Types, d.Key, d.Type = documentTypes, cmp.Or(d.Key, rand.Text()), cmp.Or(d.Type, documentTypes[0])
	for len(d.Props) < 2 {
		d.Props = append(d.Props, prop{})
	}
	if d.Problem != "" {
		a.status = http.StatusBadRequest
	}
	if d.Text != "" {
		x, err := c.Service.Atom(v.Context(), v.p, d.Text)
		switch {
		case err == nil && !x.Revoked:
			d.Atom = &x
			d.Processes, err = c.Service.AtomProcesses(v.Context(), v.p, x.ID)
			return a, err
		case err != nil && !errors.Is(err, cloud.ErrNotFound):
			return nil, err
		}
		d.Problem = "There is no atom " + cut(100, d.Text) + "."
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	for _, r := range f.rows {
		if r.Environment != nil && len(d.Atoms) < maxAtoms {
			d.Atoms = append(d.Atoms, r)
		}
	}
	return a, nil
}

// execute asks for an execution, and goes on to where it can be followed.
func (c *console) execute(v *visit) (*answer, error) {
	d := &executeData{Text: v.PostForm.Get("atom"), Process: v.PostForm.Get("process"), Document: lines(v.PostForm.Get("document")), Type: v.PostForm.Get("type"), Key: v.PostForm.Get("key")}
	names, values := v.PostForm["name"], v.PostForm["value"]
	props := map[string]string{}
	for i := range min(len(names), len(values)) {
		name := strings.TrimSpace(names[i])
		d.Props = append(d.Props, prop{name, values[i]})
		if name == "" && values[i] == "" {
			continue
		}
		if _, twice := props[name]; twice || name == "" {
			d.Problem = "Each property has a name, and each name is there once."
		}
		props[name] = values[i]
	}
	r := cloud.ExecutionRequest{AtomID: d.Text, ProcessID: d.Process, IdempotencyKey: "console " + d.Key}
	if d.Document != "" {
		r.Document, r.DocumentType = []byte(d.Document), d.Type
		if d.Type == documentTypes[0] && !json.Valid(r.Document) {
			d.Problem = "The document is no JSON. Correct it, or choose what it is."
		}
	}
	if d.Problem != "" {
		return c.executeForm(v, d)
	}
	if len(props) > 0 {
		var err error
		if r.Props, err = json.Marshal(props); err != nil {
			return nil, err
		}
	}
	id, err := c.Service.Execute(v.Context(), v.p, r)
	var invalid *cloud.InvalidError
	if errors.As(err, &invalid) || errors.Is(err, cloud.ErrBusy) {
		d.Problem = capital(err.Error())
		return c.executeForm(v, d)
	}
	if err != nil {
		return nil, err
	}
	return see("/requests/"+url.PathEscape(id), "")
}

// lines gives a text as it was written: browsers send every line's end as two
// characters.
func lines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// escapes are characters that are stored as escapes, so that JSON can be part
// of a page of others.
var escapes = map[string]byte{`\u003c`: '<', `\u003e`: '>', `\u0026`: '&'}

// readable indents JSON, and shows it as it came; what is none stays as it is.
func readable(text []byte) string {
	var indented bytes.Buffer
	if json.Indent(&indented, text, "", "  ") != nil {
		return string(text)
	}
	all := indented.Bytes()
	plain := make([]byte, 0, len(all))
	for i := 0; i < len(all); i++ {
		if all[i] != '\\' {
			plain = append(plain, all[i])
			continue
		}
		if c, ok := escapes[string(all[i:min(i+6, len(all))])]; ok {
			plain, i = append(plain, c), i+5
			continue
		}
		plain = append(plain, all[i], all[i+1]) // valid JSON goes on behind a backslash
		i++
	}
	return string(plain)
}
