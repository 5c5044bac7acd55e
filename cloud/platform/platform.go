// Package platform implements the platform REST API of the control plane: the
// objects and actions of the public AtomSphere API listed in
// docs/reference/platform-api.md, in JSON and XML. The fields, permissions,
// filters and description of an object all follow from its table.
package platform

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
	"valence/cloud/platform/codec"
)

// Root is the base path of the API.
const Root = "/api/rest/v1/"

// Limits of requests.
const (
	maxBody    = 4 << 20
	maxRequest = 24 << 20 // of an execution request, whose document may be base64
	maxPackage = cloud.MaxArchive
	maxWait    = 30 * time.Second
)

// Options configure the API.
type Options struct {
	Service *cloud.Service
	Log     *slog.Logger // nil: internal errors are not logged
}

// api serves the requests. It is safe for concurrent use.
type api struct {
	service   *cloud.Service
	log       *slog.Logger
	endpoints []endpoint
	openapi   []byte
}

// New returns the handler of every path below Root.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{service: o.Service, log: o.Log, endpoints: endpoints()}
	a.openapi = describeAPI(a.endpoints)
	return a
}

// call is one request.
type call struct {
	ctx        context.Context
	api        *api
	service    *cloud.Service
	who        cloud.Principal
	request    *http.Request
	answer     http.ResponseWriter
	raw        []byte // the unparsed body
	body       *codec.Node
	bodyFormat codec.Format
	format     codec.Format // of the response
	more       bool         // queryMore
	status     int          // of a success; 0 is the endpoint's default
	written    bool         // the endpoint has written the response itself
	seen       known        // account data read during this call
}

// refusal is an error with a status and a message for the client.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// explain returns the status and the message of an error.
func explain(err error) (int, string) {
	var r *refusal
	var invalid *cloud.InvalidError
	switch {
	case errors.As(err, &r):
		return r.status, r.message
	case errors.As(err, &invalid):
		return http.StatusBadRequest, invalid.Error()
	case errors.Is(err, cloud.ErrUnauthenticated):
		return errUnauthorized.status, errUnauthorized.message
	case errors.Is(err, cloud.ErrForbidden):
		return http.StatusForbidden, err.Error()
	case errors.Is(err, cloud.ErrNotFound):
		return http.StatusNotFound, err.Error()
	case errors.Is(err, cloud.ErrConflict):
		return http.StatusConflict, err.Error()
	case errors.Is(err, cloud.ErrQuota):
		return http.StatusTooManyRequests, err.Error()
	case errors.Is(err, cloud.ErrBusy):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, cloud.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "the control plane is stopping or cannot write to its store: try again later"
	}
	return http.StatusInternalServerError, "internal error; see the log of the control plane"
}

// ServeHTTP serves one request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{ctx: r.Context(), api: a, service: a.service, request: r, answer: w}
	declared, known := codec.Of(r.Header.Get("Content-Type"))
	c.bodyFormat = declared
	c.format = codec.Accept(r.Header.Get("Accept"), c.bodyFormat)
	parts := split(r.URL.EscapedPath())
	if len(parts) == 1 && strings.EqualFold(parts[0], "openapi.json") && r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.openapi)
		return
	}
	out, err := a.handle(c, parts, known)
	if err != nil {
		a.fail(c, err)
		return
	}
	if !c.written {
		a.write(c, c.status, out)
	}
}

// Serves reports whether a path is below Root. Repeated slashes are ignored,
// because clients join URLs from parts that begin and end with one.
func Serves(path string) bool {
	below := parts(path)
	return len(below) > len(root) && slices.Equal(below[:len(root)], root)
}

var root = parts(Root)

func parts(path string) []string {
	var all []string
	for p := range strings.SplitSeq(path, "/") {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}

// split splits a path below Root into its parts.
func split(path string) []string {
	all := parts(path)
	return all[min(len(root), len(all)):]
}

// from returns the client's address.
func from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// handle authenticates a request, finds its endpoint and runs it.
func (a *api) handle(c *call, parts []string, known bool) (*codec.Object, error) {
	user, token, ok := c.request.BasicAuth()
	if !ok || len(parts) == 0 {
		return nil, errUnauthorized
	}
	var err error
	c.who, err = a.service.Accounts.Authenticate(c.ctx, parts[0], strings.TrimPrefix(user, "BOOMI_TOKEN."), token)
	if err != nil {
		return nil, err
	}
	c.who.From = from(c.request)
	if wait, ok := a.service.Accounts.Admit(c.who.Account); !ok {
		seconds := int(math.Ceil(wait.Seconds()))
		c.answer.Header().Set("Retry-After", strconv.Itoa(seconds))
		return nil, refuse(http.StatusServiceUnavailable, "too many requests for this account: try again after %d s", seconds)
	}
	e, id, err := a.find(c.request.Method, parts[1:])
	if err != nil {
		return nil, err
	}
	out, err := a.run(c, e, id, known)
	if errors.Is(err, cloud.ErrForbidden) {
		a.service.Audit.RecordDenied(c.ctx, c.who, e.action)
	}
	return out, err
}

// run runs an endpoint if the caller's role allows it.
func (a *api) run(c *call, e endpoint, id string, known bool) (*codec.Object, error) {
	if err := c.who.Allow(e.action); err != nil {
		return nil, err
	}
	if e.unavailable != "" {
		return nil, refuse(http.StatusNotImplemented, "%s", e.unavailable)
	}
	if !e.raw {
		if err := c.read(e, known); err != nil {
			return nil, err
		}
	}
	out, err := e.run(c, id)
	if c.status == 0 {
		c.status = max(e.status, http.StatusOK)
	}
	return out, err
}

var errUnauthorized = &refusal{http.StatusUnauthorized, "authenticate with the user name BOOMI_TOKEN.NAME and an API token of this account as the password, where NAME is the name of the token; create one with valence cloud token"}

// read reads the body of a request.
func (c *call) read(e endpoint, known bool) error {
	if c.request.Method != http.MethodPost {
		c.body = &codec.Node{}
		return nil
	}
	limit := int64(maxBody)
	if e.large {
		limit = maxRequest
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.answer, c.request.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
		}
		return refuse(http.StatusBadRequest, "the body is incomplete: %v", err)
	}
	c.raw, c.more = raw, e.more
	f := codec.Sniff(raw, codec.Plain) // a token is not recognizable by its content type
	if f == codec.Plain && !e.more && len(strings.TrimSpace(string(raw))) > 0 {
		if !known {
			return refuse(http.StatusUnsupportedMediaType, "the body must be JSON or XML, got %s", c.request.Header.Get("Content-Type"))
		}
		f = c.bodyFormat
		if f == codec.Plain {
			f = codec.JSON
		}
	}
	if len(raw) > 0 {
		if c.bodyFormat == codec.Plain && f != codec.Plain && c.request.Header.Get("Accept") == "" {
			c.format = f
		}
		c.bodyFormat = f
	}
	if c.body, err = codec.Decode(raw, f); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return nil
}

// fail responds with an error.
func (a *api) fail(c *call, err error) {
	status, message := explain(err)
	if status == http.StatusInternalServerError {
		a.log.Error("platform API", "method", c.request.Method, "path", c.request.URL.Path, "error", err)
	}
	if (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && c.answer.Header().Get("Retry-After") == "" {
		c.answer.Header().Set("Retry-After", "5")
	}
	if status == http.StatusUnauthorized {
		c.answer.Header().Set("WWW-Authenticate", `Basic realm="valence"`)
	}
	a.write(c, status, &codec.Object{Type: "Error", Fields: []codec.Field{{Name: "message", Value: message, Keep: true}}})
}

// write responds with an object; nil is an empty body.
func (a *api) write(c *call, status int, o *codec.Object) {
	h := c.answer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if o == nil { // no Content-Type: clients would fail to parse an empty body as JSON
		h.Set("Content-Length", "0")
		c.answer.WriteHeader(status)
		return
	}
	body := codec.Encode(o, c.format)
	h.Set("Content-Type", c.format.MediaType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.answer.WriteHeader(status)
	_, _ = c.answer.Write(body) // an error means that the client has gone
}
