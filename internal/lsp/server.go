// Package lsp is the language server of valence: it speaks the Language Server
// Protocol (version 3.17) with an editor over a stream.
//
// Diagnostics are those of lint, for the project of each open file, with unsaved
// contents in place of the files on disk. Keys, values and their documentation
// come from the declarations of the language and of the connectors.
package lsp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime/debug"
	"sync"

	"github.com/sourcegraph/jsonrpc2"

	"valence/connectors"
	"valence/processes"
)

// Server serves one client. Create it with New.
type Server struct {
	catalog   *processes.Catalog
	version   string
	workspace *workspace
	conn      *jsonrpc2.Conn
	ctx       context.Context // ends with the connection
	running   sync.WaitGroup  // checks and requests

	recordings recordings

	mu     sync.Mutex
	checks map[string]*check             // by project
	calls  map[string]context.CancelFunc // requests by id
	// described holds the operations that files of a project describe, by project
	// and connection, since its latest check.
	described map[string]map[string][]connectors.Operation
	// initialized and stopped follow the life cycle of the protocol.
	initialized, stopped bool

	publishing sync.Mutex
	reported   map[string]map[string]bool // files with diagnostics, by project
}

// New returns a server for projects with the steps and connectors of catalog.
func New(catalog *processes.Catalog, version string) *Server {
	return &Server{
		catalog: catalog, version: version, workspace: newWorkspace(),
		checks: map[string]*check{}, calls: map[string]context.CancelFunc{}, described: map[string]map[string][]connectors.Operation{}, reported: map[string]map[string]bool{},
	}
}

// stream joins the two directions of a connection.
type stream struct {
	io.Reader
	io.Writer
	io.Closer
}

// Run serves the client until it sends exit, closes in, or ctx ends. It reports
// whether the client asked for the shutdown, as the protocol demands.
func (s *Server) Run(ctx context.Context, in io.ReadCloser, out io.Writer) (orderly bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	ready := make(chan struct{})
	quiet := log.New(io.Discard, "", 0)
	exited := make(chan struct{})
	handler := &handler{s: s, ready: ready, exited: exited}
	s.conn = jsonrpc2.NewConn(ctx, jsonrpc2.NewBufferedStream(stream{in, out, in}, jsonrpc2.VSCodeObjectCodec{}), handler, jsonrpc2.SetLogger(quiet))
	close(ready)
	select {
	case <-s.conn.DisconnectNotify():
	case <-exited:
	case <-ctx.Done():
	}
	cancel()
	_ = s.conn.Close() // the client may have closed it
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// handler receives messages in the order in which the client sends them.
type handler struct {
	s      *Server
	ready  chan struct{}
	exited chan struct{}
	once   sync.Once
}

// Codes of errors of the protocol.
const (
	codeNotInitialized = -32002
	codeCancelled      = -32800
)

// Handle handles a notification at once and a request in a goroutine of its own,
// so that a slow request can be cancelled.
func (h *handler) Handle(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) {
	<-h.ready
	params := json.RawMessage("null")
	if req.Params != nil {
		params = *req.Params
	}
	if req.Notif {
		h.notification(req.Method, params)
		return
	}
	h.s.request(req.ID, req.Method, params)
}

func (h *handler) notification(method string, params json.RawMessage) {
	if method == "exit" {
		h.once.Do(func() { close(h.exited) })
		return
	}
	do, ok := notifications[method]
	if !ok {
		return // as the protocol says
	}
	defer h.s.recovered(method, nil)
	if err := do(h.s, params); err != nil {
		h.s.log(h.s.ctx, fmt.Sprintf("%s: %v", method, err))
	}
}

// request answers a request.
func (s *Server) request(id jsonrpc2.ID, method string, params json.RawMessage) {
	ctx, cancel := context.WithCancel(s.ctx)
	key := id.String()
	s.mu.Lock()
	early := !s.initialized && method != "initialize"
	late := s.stopped
	s.calls[key] = cancel
	s.mu.Unlock()
	reply := func(result any, err error) {
		s.mu.Lock()
		delete(s.calls, key)
		s.mu.Unlock()
		s.reply(ctx, id, result, err)
		cancel()
	}
	do, known := requests[method]
	switch {
	case early:
		reply(nil, &jsonrpc2.Error{Code: codeNotInitialized, Message: "the first request must be initialize"})
	case late:
		reply(nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: "the server is shut down"})
	case !known:
		reply(nil, &jsonrpc2.Error{Code: jsonrpc2.CodeMethodNotFound, Message: "unknown method " + method})
	case method == "initialize" || method == "shutdown": // in order with later messages
		reply(do(ctx, s, params))
	default:
		s.running.Go(func() {
			defer s.recovered(method, func() {
				reply(nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInternalError, Message: "internal error in " + method})
			})
			reply(do(ctx, s, params))
		})
	}
}

// reply sends the result of a request. It fails only if the client has left.
func (s *Server) reply(ctx context.Context, id jsonrpc2.ID, result any, err error) {
	var wrong *jsonrpc2.Error
	switch {
	case err == nil && ctx.Err() == nil:
		_ = s.conn.Reply(s.ctx, id, result)
	case errors.As(err, &wrong):
		_ = s.conn.ReplyWithError(s.ctx, id, wrong)
	case ctx.Err() != nil:
		_ = s.conn.ReplyWithError(s.ctx, id, &jsonrpc2.Error{Code: codeCancelled, Message: "the request was cancelled"})
	default:
		_ = s.conn.ReplyWithError(s.ctx, id, &jsonrpc2.Error{Code: jsonrpc2.CodeInternalError, Message: err.Error()})
	}
}

// recovered reports a panic to the client, so that a bug in one feature does not
// end the server.
func (s *Server) recovered(method string, then func()) {
	r := recover()
	if r == nil {
		return
	}
	s.log(s.ctx, fmt.Sprintf("internal error in %s: %v\n%s", method, r, debug.Stack()))
	if then != nil {
		then()
	}
}

// log sends a message for the log of the client.
func (s *Server) log(ctx context.Context, message string) {
	_ = s.conn.Notify(ctx, "window/logMessage", map[string]any{"type": 1, "message": message}) // fails only if the client has left
}

// notifications maps methods to their handlers. They run in the order of arrival.
var notifications = map[string]func(*Server, json.RawMessage) error{
	"textDocument/didOpen":                notify((*Server).didOpen),
	"textDocument/didChange":              notify((*Server).didChange),
	"textDocument/didClose":               notify((*Server).didClose),
	"textDocument/didSave":                notify((*Server).didSave),
	"workspace/didChangeWatchedFiles":     notify((*Server).filesChanged),
	"workspace/didChangeWorkspaceFolders": notify((*Server).foldersChanged),
	"$/cancelRequest":                     notify((*Server).cancel),
}

// requests maps methods to their handlers.
var requests = map[string]func(context.Context, *Server, json.RawMessage) (any, error){
	"initialize":                     answer((*Server).initialize),
	"shutdown":                       answer((*Server).shutdown),
	"textDocument/documentSymbol":    answer((*Server).symbols),
	"textDocument/completion":        answer((*Server).complete),
	"textDocument/hover":             answer((*Server).hover),
	"textDocument/definition":        answer((*Server).definition),
	"textDocument/references":        answer((*Server).references),
	"textDocument/documentHighlight": answer((*Server).highlights),
	"textDocument/prepareRename":     answer((*Server).prepareRename),
	"textDocument/rename":            answer((*Server).rename),
	"textDocument/codeAction":        answer((*Server).actions),
	"textDocument/formatting":        answer((*Server).format),
}

func notify[P any](do func(*Server, *P)) func(*Server, json.RawMessage) error {
	return func(s *Server, raw json.RawMessage) error {
		p := new(P)
		if err := json.Unmarshal(raw, p); err != nil {
			return err
		}
		do(s, p)
		return nil
	}
}

func answer[P, R any](do func(*Server, context.Context, *P) (R, error)) func(context.Context, *Server, json.RawMessage) (any, error) {
	return func(ctx context.Context, s *Server, raw json.RawMessage) (any, error) {
		p := new(P)
		if err := json.Unmarshal(raw, p); err != nil {
			return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: err.Error()}
		}
		return do(s, ctx, p)
	}
}
