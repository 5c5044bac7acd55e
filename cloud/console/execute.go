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

// executeData is the form for an execution request.
type executeData struct {
	Atoms     []*row // offered atoms
	Atom      *cloud.Atom
	Text      string // text entered for the atom
	Processes []cloud.Component
	Process   string // id
	Props     []prop
	Document  string
	Type      string
	Types     []string
	Key       string // idempotency key of the form
	Problem   string
}

type prop struct{ Name, Value string }

// maxAtoms is the number of atoms offered.
const maxAtoms = 200

var documentTypes = []string{"application/json", "application/xml", "text/csv", "text/plain"}

func (c *console) executePage(v *visit) (*answer, error) {
	q := v.URL.Query()
	d := &executeData{Text: strings.TrimSpace(q.Get("atom")), Process: q.Get("process")}
	if id := q.Get("request"); id != "" { // copy the properties of an earlier request
		r, err := c.Service.Executions.ExecutionRequest(v.Context(), v.p, id)
		if err != nil {
			return nil, err
		}
		d.Props = propsOf(r.Props)
	}
	return c.executeForm(v, d)
}

// propsOf returns the properties of a request as form fields.
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
		x, err := c.Service.Fleet.Atom(v.Context(), v.p, d.Text)
		switch {
		case err == nil && !x.Revoked:
			d.Atom = &x
			d.Processes, err = c.Service.Deployments.AtomProcesses(v.Context(), v.p, x.ID)
			return a, err
		case err != nil && !errors.Is(err, cloud.ErrNotFound):
			return nil, err
		}
		d.Problem = "No such atom: " + cut(100, d.Text) + "."
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

// execute sends an execution request and redirects to its record.
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
			d.Problem = "Each property needs a name, and names must be unique."
		}
		props[name] = values[i]
	}
	r := cloud.ExecutionRequest{AtomID: d.Text, ProcessID: d.Process, IdempotencyKey: "console " + d.Key}
	if d.Document != "" {
		r.Document, r.DocumentType = []byte(d.Document), d.Type
		if d.Type == documentTypes[0] && !json.Valid(r.Document) {
			d.Problem = "The document is not valid JSON. Correct it, or choose another type."
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
	id, err := c.Service.Executions.Execute(v.Context(), v.p, r)
	var invalid *cloud.InvalidError
	if errors.As(err, &invalid) || errors.Is(err, cloud.ErrBusy) || errors.Is(err, cloud.ErrQuota) {
		d.Problem = capital(err.Error())
		return c.executeForm(v, d)
	}
	if err != nil {
		return nil, err
	}
	return see("/requests/"+url.PathEscape(id), "")
}

// lines restores line ends: browsers send each one as two characters.
func lines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// escapes lists characters that the store escapes so that JSON can be embedded
// in a page.
var escapes = map[string]byte{`\u003c`: '<', `\u003e`: '>', `\u0026`: '&'}

// readable indents JSON. Other text is returned unchanged.
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
		plain = append(plain, all[i], all[i+1]) // valid JSON continues after a backslash
		i++
	}
	return string(plain)
}
