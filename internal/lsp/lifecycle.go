package lsp

import (
	"context"
	"encoding/json"
	"path/filepath"
)

// initialize answers with the features of the server.
func (s *Server) initialize(_ context.Context, p *initializeParams) (any, error) {
	folders := p.WorkspaceFolders
	if len(folders) == 0 && p.RootURI != nil {
		folders = []workspaceFolder{{*p.RootURI}}
	}
	s.workspace.add(folders)
	s.nameAtom(p.Options, folders)
	s.mu.Lock()
	s.initialized = true
	s.mu.Unlock()
	return map[string]any{
		"serverInfo": map[string]any{"name": "valence", "version": s.version},
		"capabilities": map[string]any{
			"positionEncoding":           "utf-16",
			"textDocumentSync":           map[string]any{"openClose": true, "change": 2, "save": map[string]any{}},
			"documentSymbolProvider":     true,
			"completionProvider":         map[string]any{"triggerCharacters": []string{".", "{", ":", " ", "\"", "'"}},
			"hoverProvider":              true,
			"definitionProvider":         true,
			"referencesProvider":         true,
			"documentHighlightProvider":  true,
			"renameProvider":             map[string]any{"prepareProvider": true},
			"codeActionProvider":         map[string]any{"codeActionKinds": []string{"quickfix"}},
			"documentFormattingProvider": true,
			"workspace":                  map[string]any{"workspaceFolders": map[string]any{"supported": true, "changeNotifications": true}},
		},
	}, nil
}

// nameAtom sets the atom whose history hovers show. A relative data folder is in
// the first folder of the workspace.
func (s *Server) nameAtom(options json.RawMessage, folders []workspaceFolder) {
	var named Atom
	_ = json.Unmarshal(options, &named) // other options are those of other servers
	atom := &s.recordings.atom
	if named.Data != "" {
		atom.Data = named.Data
	}
	if named.Admin != "" {
		atom.Admin = named.Admin
	}
	if len(folders) > 0 && atom.Data != "" && !filepath.IsAbs(atom.Data) {
		if folder := pathOf(folders[0].URI); folder != "" {
			atom.Data = filepath.Join(folder, atom.Data)
		}
	}
}

func (s *Server) shutdown(context.Context, *json.RawMessage) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	return nil, nil
}

// cancel ends a request that is running.
func (s *Server) cancel(p *cancelParams) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.calls[string(p.ID)]; cancel != nil {
		cancel()
	}
}

func (s *Server) didOpen(p *documentParams) {
	path := pathOf(p.TextDocument.URI)
	if path == "" {
		return // not a file
	}
	s.workspace.put(&document{uri: p.TextDocument.URI, path: path, version: p.TextDocument.Version, text: newText(valid(p.TextDocument.Text))})
	s.changed(path)
}

func (s *Server) didChange(p *changeParams) {
	d := s.workspace.document(p.TextDocument.URI)
	if d == nil {
		return
	}
	t := d.text
	for _, c := range p.ContentChanges {
		if c.Range == nil {
			t = newText(valid(c.Text))
		} else {
			t = t.edit(*c.Range, valid(c.Text))
		}
	}
	s.workspace.put(&document{uri: d.uri, path: d.path, version: p.TextDocument.Version, text: t})
	s.changed(d.path)
}

func (s *Server) didClose(p *documentParams) {
	if d := s.workspace.close(p.TextDocument.URI); d != nil {
		s.changed(d.path) // the file on disk counts again
	}
}

func (s *Server) didSave(p *documentParams) {
	if path := pathOf(p.TextDocument.URI); path != "" {
		s.changed(path)
	}
}

// filesChanged checks the projects of all open files, because other files changed.
func (s *Server) filesChanged(*json.RawMessage) { s.recheck() }

func (s *Server) foldersChanged(p *foldersParams) {
	s.workspace.remove(p.Event.Removed)
	s.workspace.add(p.Event.Added)
	s.recheck()
}

func (s *Server) recheck() {
	docs, _ := s.workspace.snapshot()
	done := map[string]bool{}
	for path := range docs {
		if project := s.workspace.project(path); !done[project] || project == "" {
			done[project] = true
			s.changed(path)
		}
	}
}
