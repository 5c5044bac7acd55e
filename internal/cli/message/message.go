// Package message has the flags that describe the message of a process: its
// document, its properties and the HTTP request that carries it.
package message

import (
	"encoding/json"
	"io"
	"mime"
	"strings"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/convert"
)

// Flags are the flags of commands that run a process.
type Flags struct {
	Document  string   `short:"d" placeholder:"@FILE|-|TEXT" help:"Input: a file, standard input, or the text itself. Default: none."`
	MediaType string   `placeholder:"TYPE" help:"Media type of the input. Default: by the file extension, otherwise application/json."`
	Prop      []string `placeholder:"NAME=VALUE" sep:"none" help:"Process property. VALUE is JSON if it is valid JSON, otherwise text. May be repeated."`
	Method    string   `placeholder:"METHOD" help:"HTTP method of the request. Default: the first one of the listener."`
	Param     []string `placeholder:"NAME=VALUE" sep:"none" help:"Path parameter of the request, such as id of the path /orders/{id}. May be repeated."`
	Query     []string `placeholder:"NAME=VALUE" sep:"none" help:"Query parameter of the request. May be repeated."`
	Header    []string `placeholder:"'NAME: VALUE'" sep:"none" help:"Header of the request. May be repeated."`
}

// Used reports whether one of the flags is set.
func (f *Flags) Used() bool {
	return f.Document != "" || f.MediaType != "" || len(f.Prop) > 0 || f.hasRequest()
}

func (f *Flags) hasRequest() bool {
	return f.Method != "" || len(f.Param)+len(f.Query)+len(f.Header) > 0
}

// Request is an HTTP request without its body.
type Request struct {
	Method  string              `json:"method,omitempty"`
	Params  map[string]string   `json:"params,omitempty"`
	Query   map[string][]string `json:"query,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
}

// Read returns the document and its media type, which is "" for JSON. ok is false
// if there is no document. It checks JSON.
func (f *Flags) Read(stdin io.Reader) (text []byte, mediaType string, ok bool, err error) {
	if text, ok, err = terminal.ReadDocument(f.Document, stdin); err != nil || !ok {
		return nil, f.MediaType, false, err
	}
	mediaType = f.MediaType
	if file, ok := strings.CutPrefix(f.Document, "@"); ok && mediaType == "" {
		mediaType = terminal.MediaType(file)
	}
	kind, _, err := mime.ParseMediaType(mediaType)
	if mediaType != "" && err != nil {
		return nil, "", false, clierror.Usage("--media-type application/xml", "invalid media type %q", mediaType)
	}
	if mediaType != "" && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return text, mediaType, true, nil
	}
	if err := convert.CheckJSON(text); err != nil {
		return nil, "", false, clierror.Usage("--media-type text/plain, for a document that is not JSON", "the document is not valid JSON: %v", err)
	}
	return text, "", true, nil
}

// Props returns the properties; nil if there are none.
func (f *Flags) Props() (map[string]json.RawMessage, error) {
	var props map[string]json.RawMessage
	for _, p := range f.Prop {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, clierror.Usage("--prop "+p+"=VALUE", "a property is NAME=VALUE, not %q", p)
		}
		text := json.RawMessage(value)
		if convert.CheckJSON(text) != nil {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			text = quoted
		}
		if props == nil {
			props = map[string]json.RawMessage{}
		}
		props[name] = text
	}
	return props, nil
}

// Request returns the HTTP request that the flags describe; nil if there is none.
func (f *Flags) Request() (*Request, error) {
	if !f.hasRequest() {
		return nil, nil
	}
	r := &Request{Method: f.Method, Params: map[string]string{}, Query: map[string][]string{}, Headers: map[string][]string{}}
	for _, p := range f.Param {
		name, value, err := split(p, "--param", "=")
		if err != nil {
			return nil, err
		}
		if _, twice := r.Params[name]; twice {
			return nil, clierror.Usage("one --param "+name, "the path parameter %s occurs more than once", name)
		}
		r.Params[name] = value
	}
	for _, p := range f.Query {
		name, value, err := split(p, "--query", "=")
		if err != nil {
			return nil, err
		}
		r.Query[name] = append(r.Query[name], value)
	}
	for _, p := range f.Header {
		name, value, err := split(p, "--header", ":")
		if err != nil {
			return nil, err
		}
		r.Headers[name] = append(r.Headers[name], strings.TrimSpace(value))
	}
	return r, nil
}

// split splits the value of a flag at the first separator.
func split(text, flag, separator string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, separator)
	switch {
	case ok && name != "":
		return name, value, nil
	case separator == ":":
		return "", "", clierror.Usage(flag+" 'NAME: VALUE'", "a header is NAME: VALUE, not %q", text)
	}
	return "", "", clierror.Usage(flag+" NAME=VALUE", "the value of %s is NAME=VALUE, not %q", flag, text)
}
