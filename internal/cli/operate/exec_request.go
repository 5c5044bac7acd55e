package operate

import (
	"strings"

	"valence/internal/clierror"
)

// httpRequest is the HTTP request of an execution request.
type httpRequest struct {
	Method  string              `json:"method,omitempty"`
	Params  map[string]string   `json:"params,omitempty"`
	Query   map[string][]string `json:"query,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
}

// addRequest adds the HTTP request that the flags describe, unless there are
// none.
func (c *ExecCommand) addRequest(req *execRequest) error {
	if c.Method == "" && len(c.Param)+len(c.Query)+len(c.Header) == 0 {
		return nil
	}
	r := &httpRequest{Method: c.Method, Params: map[string]string{}, Query: map[string][]string{}, Headers: map[string][]string{}}
	for _, p := range c.Param {
		name, value, err := split(p, "--param", "=")
		if err != nil {
			return err
		}
		if _, twice := r.Params[name]; twice {
			return clierror.Usage("one --param "+name, "the path parameter %s occurs more than once", name)
		}
		r.Params[name] = value
	}
	for _, p := range c.Query {
		name, value, err := split(p, "--query", "=")
		if err != nil {
			return err
		}
		r.Query[name] = append(r.Query[name], value)
	}
	for _, p := range c.Header {
		name, value, err := split(p, "--header", ":")
		if err != nil {
			return err
		}
		r.Headers[name] = append(r.Headers[name], strings.TrimSpace(value))
	}
	req.Request = r
	return nil
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
