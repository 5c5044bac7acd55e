// Package examples plays what surrounds an example project: the systems that
// it calls, the requests that start it, and the checks of what came out. The
// tests run every folder of examples/ with it, and the command in systems lets
// a reader do the same by hand.
package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Example is the example.json of a folder.
type Example struct {
	// Environment is the variables that the program is started with. "{shop}"
	// stands for the address of the system of that name, "{folder}" for a folder
	// of the example's own, empty at first.
	Environment map[string]string `json:"environment"`
	Systems     map[string]System `json:"systems"`
	Requests    []Request         `json:"requests"`
	// Calls is every call that the systems get, in any order, and no other.
	Calls []Call `json:"calls"`
	// Executions is how many executions of each process end how.
	Executions map[string]map[string]int `json:"executions"`
	// Files is every file that is in the folder in the end, by path; "*" stands
	// for any part of a name. Without content it may hold anything.
	Files map[string]Content `json:"files"`

	Dir string `json:"-"`

	addresses map[string]string // of the systems, once they are started
}

// System is another system that the project calls.
type System struct {
	Port    int      `json:"port"` // where it listens when played by hand
	Answers []Answer `json:"answers"`
}

// Answer is what a system answers to a method and a path (as sent, still
// encoded, without the query). The first one that fits and has not been used
// up answers; without one it is 404.
type Answer struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Status  int               `json:"status"` // 0 is 200
	Headers map[string]string `json:"headers"`
	Times   int               `json:"times"` // how often; 0 is always
	Content
}

// Content is a body: JSON written in place, a text, or a file of the folder.
type Content struct {
	JSON json.RawMessage `json:"json"`
	Text *string         `json:"text"`
	File string          `json:"file"`
}

// Request is what a caller sends.
type Request struct {
	About   string            `json:"about"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"` // "{shop}" stands for an address here, too
	// Sign names the variable that holds the Standard Webhooks secret to sign
	// with; SignedAgo makes the signature that old.
	Sign      string `json:"sign"`
	SignedAgo string `json:"signed_ago"`
	// Settled sends it only once all executions before it have ended.
	Settled bool `json:"settled"`
	// Callback sends it to an address that a system was given, in place of Path.
	Callback *Callback `json:"callback"`
	// Execute runs a process through the admin API, once all that ran before
	// has ended, in place of a request to Path; the body may hold props and a document.
	Execute string `json:"execute"`
	// Drop puts the content into the folder, as a file of this path, and sends nothing.
	Drop   string `json:"drop"`
	Expect Expect `json:"expect"`
	Content
}

// Callback finds the address that a system was given to call back.
type Callback struct {
	Call  string `json:"call"`  // "system METHOD /path?query" of the call that holds it
	Key   string `json:"key"`   // of the JSON body
	Holds string `json:"holds"` // a text that the body holds, to tell calls apart
}

// Find gives the address, "" if there is none among the calls.
func (c *Callback) Find(calls []Got) string {
	for _, g := range calls {
		if g.To != c.Call || !bytes.Contains(g.Body, []byte(c.Holds)) {
			continue
		}
		var body map[string]any
		if json.Unmarshal(g.Body, &body) == nil {
			if url, ok := body[c.Key].(string); ok {
				return url
			}
		}
	}
	return ""
}

// Expect is what the answer must be. A text "<any>" in JSON or in a header
// stands for any value that is there, "<time>" for a time (RFC 3339), "<same>" in
// a header for the same value in every call that says so.
type Expect struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Subset  json.RawMessage   `json:"subset"` // JSON that the answer holds among other things
	Content
}

// Call is a call that a system must get.
type Call struct {
	To      string            `json:"to"` // "system METHOD /path?query", as sent
	Headers map[string]string `json:"headers"`
	Content
}

// Load reads the example.json of a folder. Unknown keys are errors.
func Load(dir string) (*Example, error) {
	file := filepath.Join(dir, "example.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	e := &Example{Dir: dir}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(e); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, c := range e.Calls {
		name, _, _ := strings.Cut(c.To, " ")
		if _, ok := e.Systems[name]; !ok {
			return nil, fmt.Errorf("%s: call to %q: there is no system %q", file, c.To, name)
		}
	}
	return e, nil
}

// Names gives the names of the systems in alphabetical order.
func (e *Example) Names() []string {
	names := make([]string, 0, len(e.Systems))
	for n := range e.Systems {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Env gives the environment as NAME=value, sorted, with the systems at the
// given addresses.
func (e *Example) Env(addresses map[string]string) []string {
	fill := filler(addresses)
	env := make([]string, 0, len(e.Environment))
	for k, v := range e.Environment {
		env = append(env, k+"="+fill.Replace(v))
	}
	sort.Strings(env)
	return env
}

// filler puts the addresses of systems in the place of their names.
func filler(addresses map[string]string) *strings.Replacer {
	var pairs []string
	for name, address := range addresses {
		pairs = append(pairs, "{"+name+"}", address)
	}
	return strings.NewReplacer(pairs...)
}

// Bytes gives the body, and whether there is one.
func (c Content) Bytes(dir string) ([]byte, bool, error) {
	switch {
	case c.File != "":
		b, err := os.ReadFile(filepath.Join(dir, c.File))
		return b, true, err
	case c.Text != nil:
		return []byte(*c.Text), true, nil
	case c.JSON != nil:
		return c.JSON, true, nil
	}
	return nil, false, nil
}
