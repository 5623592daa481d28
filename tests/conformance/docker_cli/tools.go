//go:build tools

package tools

import _ "github.com/docker/cli/cmd/docker"
