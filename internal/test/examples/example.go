// Package examples simulates the environment of an example project: the systems
// that it calls, the requests that start it, and the checks of the results. The
// tests run every folder of examples/ and every page of docs/. The command in
// systems lets a reader try an example by hand.
package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Example is the example.json of a folder.
type Example struct {
	// Environment holds the variables of the program. "{shop}" stands for the
	// address of the system of that name, "{folder}" for an empty folder, "{rabbitmq}",
	// "{mosquitto}" or "{artemis}" for a broker, "{postgres}" for a database, and
	// "{sshd}" for an SSH server.
	Environment map[string]string `json:"environment"`
	Systems     map[string]System `json:"systems"`
	Requests    []Request         `json:"requests"`
	// Calls lists every call that the systems receive, in any order.
	Calls []Call `json:"calls"`
	// Executions counts the executions by process and status.
	Executions map[string]map[string]int `json:"executions"`
	// Files lists every file in the folder at the end, by path; "*" matches any
	// part of a name. A file without content may contain anything.
	Files map[string]Content `json:"files"`

	Dir string `json:"-"`

	addresses map[string]string // of the systems that are running
}

// System is another system that the project uses: a web service that Answers
// describes, a broker, or a mail server.
type System struct {
	Port    int      `json:"port"` // when started by the command systems
	Answers []Answer `json:"answers"`
	// NATS lists the streams of a NATS server with their subjects.
	NATS map[string][]string `json:"nats"`
	// Kafka lists the topics of a Kafka cluster with the number of their partitions.
	Kafka map[string]int32 `json:"kafka"`
	// Mail is "smtp" for a server that receives mail, or "imap" for one with a
	// mailbox. The address of both is their port.
	Mail string `json:"mail"`
}

// address returns the URL of the system on a port of the loopback interface, or
// the port of a mail server.
func (s *System) address(port int) string {
	if s.Mail != "" {
		return strconv.Itoa(port)
	}
	scheme := "http"
	switch {
	case s.NATS != nil:
		scheme = "nats"
	case s.Kafka != nil:
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Answer is the response to a method and a path (as sent, still encoded, without
// the query). The first one that matches and is not used up is sent; without one
// the response is 404.
type Answer struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Status  int               `json:"status"` // 0: 200
	Headers map[string]string `json:"headers"`
	Times   int               `json:"times"` // how often it is sent; 0: always
	Content
}

// Content is a body: inline JSON, text, or a file of the folder.
type Content struct {
	JSON json.RawMessage `json:"json"`
	Text *string         `json:"text"`
	File string          `json:"file"`
}

// Request is a request of a caller.
type Request struct {
	About   string            `json:"about"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"` // "{shop}" stands for an address
	// Sign names the variable with the Standard Webhooks secret for the
	// signature; SignedAgo is the age of the signature.
	Sign      string `json:"sign"`
	SignedAgo string `json:"signed_ago"`
	// Settled sends it after all earlier executions have ended.
	Settled bool `json:"settled"`
	// Callback sends it to a callback URL that a system received, not to Path.
	Callback *Callback `json:"callback"`
	// Execute runs a process through the admin API after all earlier executions
	// have ended. The body may contain props and a document.
	Execute string `json:"execute"`
	// Mail adds the content, a message, to the inbox on the system of this name.
	Mail string `json:"mail"`
	// Drop writes the content to a file with this path in the folder.
	Drop   string `json:"drop"`
	Expect Expect `json:"expect"`
	Content
}

// Callback finds a callback URL in a call that a system received.
type Callback struct {
	Call  string `json:"call"`  // "system METHOD /path?query" of the call that contains it
	Key   string `json:"key"`   // of the JSON body
	Holds string `json:"holds"` // text in the body, to distinguish calls
}

// Find returns the URL, or "" if no call contains it.
func (c *Callback) Find(calls []ReceivedCall) string {
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

// Expect is the expected response. In JSON and headers "<any>" matches any value
// and "<time>" a time (RFC 3339); in headers "<same>" matches one value in all
// calls.
type Expect struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Subset  json.RawMessage   `json:"subset"` // JSON that the response contains, among other members
	Content
}

// Call is an expected call to a system.
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
			return nil, fmt.Errorf("%s: call to %q: unknown system %q", file, c.To, name)
		}
	}
	return e, nil
}

// Names returns the names of the systems in alphabetical order.
func (e *Example) Names() []string {
	names := make([]string, 0, len(e.Systems))
	for n := range e.Systems {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Env returns the environment as sorted NAME=value pairs, with the systems at
// the given addresses.
func (e *Example) Env(addresses map[string]string) []string {
	fill := filler(addresses)
	env := make([]string, 0, len(e.Environment))
	for k, v := range e.Environment {
		env = append(env, k+"="+fill.Replace(v))
	}
	sort.Strings(env)
	return env
}

// Uses reports whether the environment contains the address of a system.
func (e *Example) Uses(name string) bool {
	for _, v := range e.Environment {
		if strings.Contains(v, "{"+name+"}") {
			return true
		}
	}
	return false
}

// filler replaces the names of systems by their addresses.
func filler(addresses map[string]string) *strings.Replacer {
	var pairs []string
	for name, address := range addresses {
		pairs = append(pairs, "{"+name+"}", address)
	}
	return strings.NewReplacer(pairs...)
}

// Bytes returns the body, and false if there is none.
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
