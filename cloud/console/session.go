package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"

	"valence/cloud"
)

// The cookie of a session. Where the page came over TLS it is bound to that:
// a browser takes a name with __Host- only over TLS, for this host alone.
const (
	cookieName   = "valence-session"
	cookieSecure = "__Host-valence-session"
)

// liveHeader marks a request that the script makes to keep a page fresh.
const liveHeader = "Valence-Live"

// sessionSecret gives what a request brings, "" for nothing.
func sessionSecret(r *http.Request) string {
	if cookie, err := r.Cookie(cookieSecure); err == nil {
		return cookie.Value
	}
	// Browsers tell of where a request comes from over TLS, and to the machine
	// they run on: there, a cookie that any neighbouring host could have set is
	// not taken.
	if r.TLS != nil || r.Header.Get("Sec-Fetch-Site") != "" && !loopback(r.Host) {
		return ""
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		return cookie.Value
	}
	return ""
}

// secure reports whether a browser sees this site over TLS, here or at a proxy
// that ends it: with a form it says so itself.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://")
}

func setCookie(w http.ResponseWriter, r *http.Request, secret string) {
	cookie := &http.Cookie{Name: cookieName, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if secure(r) {
		cookie.Name, cookie.Secure = cookieSecure, true
	}
	if secret == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// csrfOf gives what the forms of a session carry. It follows from the secret
// and tells nothing of it.
func csrfOf(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("valence console form"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// stranger answers who has no session.
func (c *console) stranger(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost || r.Header.Get(liveHeader) != "":
		http.Error(w, "Sign in first: there is no session, or it is over.", http.StatusUnauthorized)
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.URL.Path != "/signin":
		// A link on another site, such as a chat: the browser does not send the
		// cookie with it. With a page of our own between, it does.
		c.render(w, http.StatusOK, "through", &shell{Path: r.URL.RequestURI(), assets: c.assets})
	default:
		c.render(w, http.StatusUnauthorized, "signin", &shell{Title: "Sign in", Path: localPath(r.URL.RequestURI()), Version: c.Version, assets: c.assets})
	}
}

// localPath gives a path of this site, whatever somebody has put into a form.
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, "/sign") {
		return "/"
	}
	return path
}

func (c *console) signInPage(w http.ResponseWriter, r *http.Request) {
	if _, err := c.Service.Session(r.Context(), sessionSecret(r)); err == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s := &shell{Title: "Sign in", Path: "/", Version: c.Version, assets: c.assets}
	if r.URL.Query().Has("out") {
		s.Done = "You have signed out."
	}
	c.render(w, http.StatusOK, "signin", s)
}

// signIn begins a session of an API token. The token is in no URL, log or
// cookie, and nothing is kept of it that was not kept before.
func (c *console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	again := func(status int, text string) {
		c.render(w, status, "signin", &shell{Title: "Sign in", Path: localPath(r.PostFormValue("to")), Problem: text, Version: c.Version, assets: c.assets})
	}
	if err := c.origin.Check(r); err != nil {
		again(http.StatusForbidden, "This was sent from another site. Sign in here.")
		return
	}
	p, err := c.Service.Authenticate(r.Context(), "", "", strings.TrimSpace(r.PostFormValue("token")))
	if errors.Is(err, cloud.ErrUnavailable) {
		unavailable(w)
		return
	}
	if err != nil {
		again(http.StatusUnauthorized, "This token is not known here, was revoked, or has expired.")
		return
	}
	p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
	secret, err := c.Service.SignIn(r.Context(), p)
	if err != nil {
		c.Log.Error("nobody can sign in", "error", err)
		again(http.StatusServiceUnavailable, "The control plane's store takes nothing now. Look at its log.")
		return
	}
	setCookie(w, r, secret)
	http.Redirect(w, r, localPath(r.PostFormValue("to")), http.StatusSeeOther)
}

// signOut ends the session itself, not only the cookie.
func (c *console) signOut(w http.ResponseWriter, r *http.Request) {
	secret := sessionSecret(r)
	if p, err := c.Service.Session(r.Context(), secret); err == nil {
		p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
		v := &visit{r, p, csrfOf(secret)}
		if err := c.genuine(w, v, route{}); err != nil {
			c.fail(w, v, err)
			return
		}
		if err := c.Service.SignOut(r.Context(), p, secret); err != nil {
			c.fail(w, v, err)
			return
		}
	}
	setCookie(w, r, "")
	http.Redirect(w, r, "/signin?out", http.StatusSeeOther)
}
