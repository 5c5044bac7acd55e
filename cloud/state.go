package cloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// persisted is an object of the configuration.
type persisted interface {
	storageKey() (kind, id, account string)
}

func (a *Account) storageKey() (string, string, string)      { return "account", a.ID, a.ID }
func (t *Token) storageKey() (string, string, string)        { return "token", t.ID, t.Account }
func (e *Environment) storageKey() (string, string, string)  { return "environment", e.ID, e.Account }
func (a *Atom) storageKey() (string, string, string)         { return "atom", a.ID, a.Account }
func (a *Attachment) storageKey() (string, string, string)   { return "attachment", a.ID, a.Account }
func (t *InstallToken) storageKey() (string, string, string) { return "installtoken", t.ID, t.Account }
func (c *Component) storageKey() (string, string, string)    { return "component", c.ID, c.Account }
func (p *Package) storageKey() (string, string, string)      { return "package", p.ID, p.Account }
func (d *Deployment) storageKey() (string, string, string)   { return "deployment", d.ID, d.Account }
func (x *Session) storageKey() (string, string, string)      { return "session", x.ID, x.Account }
func (x *Extension) storageKey() (string, string, string) {
	return "extension", x.EnvironmentID + "/" + x.Name, x.Account
}

// emptyObjects returns an empty object of every kind.
func emptyObjects() []persisted {
	return []persisted{&Account{}, &Token{}, &Environment{}, &Atom{}, &Attachment{}, &InstallToken{}, &Component{}, &Package{}, &Deployment{}, &Extension{}, &Session{}, &Replay{}}
}

// newObject returns an empty object of a kind, or nil for an unknown kind.
func newObject(kind string) persisted {
	for _, o := range emptyObjects() {
		if k, _, _ := o.storageKey(); k == kind {
			return o
		}
	}
	return nil
}

// state is the whole configuration. Its objects are immutable: a change
// replaces them.
type state struct {
	accounts      map[string]*Account
	tokens        map[string]*Token
	environments  map[string]*Environment
	atoms         map[string]*Atom
	attachments   map[string]*Attachment
	installTokens map[string]*InstallToken
	components    map[string]*Component
	packages      map[string]*Package
	deployments   map[string]*Deployment
	extensions    map[string]map[string]*Extension // by environment and name
	sessions      map[string]*Session
	replays       map[string]*Replay

	tokenByHash   map[string]*Token                 // by the token's hash
	installByHash map[string]*InstallToken          // likewise
	sessionByHash map[string]*Session               // by the secret's hash
	attachmentOf  map[string]*Attachment            // by atom id
	atomsIn       map[string]map[string]bool        // atom ids by environment
	activeIn      map[string]map[string]*Deployment // by environment and project
	archives      map[string]int                    // number of packages by archive
}

func newState() *state {
	return &state{
		accounts: map[string]*Account{}, tokens: map[string]*Token{}, environments: map[string]*Environment{},
		atoms: map[string]*Atom{}, attachments: map[string]*Attachment{}, installTokens: map[string]*InstallToken{},
		components: map[string]*Component{}, packages: map[string]*Package{}, deployments: map[string]*Deployment{},
		extensions: map[string]map[string]*Extension{}, sessions: map[string]*Session{}, sessionByHash: map[string]*Session{},
		tokenByHash: map[string]*Token{}, installByHash: map[string]*InstallToken{}, attachmentOf: map[string]*Attachment{},
		atomsIn: map[string]map[string]bool{}, activeIn: map[string]map[string]*Deployment{}, archives: map[string]int{}, replays: map[string]*Replay{},
	}
}

// put adds or replaces an object.
func (st *state) put(o persisted) {
	switch v := o.(type) {
	case *Account:
		st.accounts[v.ID] = v
	case *Token:
		st.tokens[v.ID] = v
		st.tokenByHash[string(v.Hash)] = v
	case *Environment:
		st.environments[v.ID] = v
	case *Atom:
		st.atoms[v.ID] = v
	case *Attachment:
		st.attachments[v.ID] = v
		st.attachmentOf[v.AtomID] = v
		if st.atomsIn[v.EnvironmentID] == nil {
			st.atomsIn[v.EnvironmentID] = map[string]bool{}
		}
		st.atomsIn[v.EnvironmentID][v.AtomID] = true
	case *InstallToken:
		st.installTokens[v.ID] = v
		st.installByHash[string(v.Hash)] = v
	case *Component:
		st.components[v.ID] = v
	case *Package:
		if st.packages[v.ID] == nil {
			st.archives[v.SHA256]++
		}
		st.packages[v.ID] = v
	case *Deployment:
		st.deployments[v.ID] = v
	case *Extension:
		if st.extensions[v.EnvironmentID] == nil {
			st.extensions[v.EnvironmentID] = map[string]*Extension{}
		}
		st.extensions[v.EnvironmentID][v.Name] = v
	case *Session:
		st.sessions[v.ID] = v
		st.sessionByHash[string(v.Hash)] = v
	case *Replay:
		st.replays[v.ID] = v
	}
}

// drop removes an object.
func (st *state) drop(o persisted) {
	switch v := o.(type) {
	case *Account:
		delete(st.accounts, v.ID)
	case *Token:
		delete(st.tokens, v.ID)
		delete(st.tokenByHash, string(v.Hash))
	case *Environment:
		delete(st.environments, v.ID)
	case *Atom:
		delete(st.atoms, v.ID)
	case *Attachment:
		delete(st.attachments, v.ID)
		delete(st.attachmentOf, v.AtomID)
		delete(st.atomsIn[v.EnvironmentID], v.AtomID)
	case *InstallToken:
		delete(st.installTokens, v.ID)
		delete(st.installByHash, string(v.Hash))
	case *Component:
		delete(st.components, v.ID)
	case *Package:
		delete(st.packages, v.ID)
		if st.archives[v.SHA256]--; st.archives[v.SHA256] <= 0 {
			delete(st.archives, v.SHA256)
		}
	case *Deployment:
		delete(st.deployments, v.ID)
	case *Extension:
		delete(st.extensions[v.EnvironmentID], v.Name)
	case *Session:
		delete(st.sessions, v.ID)
		delete(st.sessionByHash, string(v.Hash))
	case *Replay:
		delete(st.replays, v.ID)
	}
}

// reindex rebuilds the index of active deployments.
func (st *state) reindex() {
	clear(st.activeIn)
	for _, d := range st.deployments {
		if p := st.packages[d.PackageID]; d.Active && p != nil {
			if st.activeIn[d.EnvironmentID] == nil {
				st.activeIn[d.EnvironmentID] = map[string]*Deployment{}
			}
			st.activeIn[d.EnvironmentID][p.Project] = d
		}
	}
}

// read adds an object read from the store.
func (st *state) read(o Object) error {
	v := newObject(o.Kind)
	if v == nil {
		return fmt.Errorf("the store holds an object of the unknown kind %q", o.Kind)
	}
	if err := json.Unmarshal(o.Body, v); err != nil {
		return fmt.Errorf("read the %s %s: %w", o.Kind, o.ID, err)
	}
	st.put(v)
	return nil
}

// find returns the object of a kind with an id, or nil.
func (st *state) find(kind, id string) persisted {
	switch kind {
	case "account":
		return orNil(st.accounts[id])
	case "token":
		return orNil(st.tokens[id])
	case "environment":
		return orNil(st.environments[id])
	case "atom":
		return orNil(st.atoms[id])
	case "attachment":
		return orNil(st.attachments[id])
	case "installtoken":
		return orNil(st.installTokens[id])
	case "component":
		return orNil(st.components[id])
	case "package":
		return orNil(st.packages[id])
	case "deployment":
		return orNil(st.deployments[id])
	case "session":
		return orNil(st.sessions[id])
	case "replay":
		return orNil(st.replays[id])
	case "extension":
		environment, name, _ := strings.Cut(id, "/")
		return orNil(st.extensions[environment][name])
	}
	return nil
}

// orNil returns a nil interface for a nil pointer.
func orNil[T any, P interface {
	*T
	persisted
}](v P) persisted {
	if v == nil {
		return nil
	}
	return v
}

// replaceWith replaces the content by that of another state. The maps
// themselves stay, because readers range over them under core.mu.
func (st *state) replaceWith(next *state) {
	replace(st.accounts, next.accounts)
	replace(st.tokens, next.tokens)
	replace(st.sessions, next.sessions)
	replace(st.sessionByHash, next.sessionByHash)
	replace(st.replays, next.replays)
	replace(st.environments, next.environments)
	replace(st.atoms, next.atoms)
	replace(st.attachments, next.attachments)
	replace(st.installTokens, next.installTokens)
	replace(st.components, next.components)
	replace(st.packages, next.packages)
	replace(st.deployments, next.deployments)
	replace(st.extensions, next.extensions)
	replace(st.tokenByHash, next.tokenByHash)
	replace(st.installByHash, next.installByHash)
	replace(st.attachmentOf, next.attachmentOf)
	replace(st.atomsIn, next.atomsIn)
	replace(st.activeIn, next.activeIn)
	replace(st.archives, next.archives)
}

func replace[K comparable, V any](to, from map[K]V) {
	clear(to)
	maps.Copy(to, from)
}
