// testchaind is the node of a chain made of the Cosmos SDK's stock modules. Baton's end-to-end tests run beside it.
package main

import (
	"os"
	"path/filepath"

	"cosmossdk.io/log"
	comet "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/config"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/client/keys"
	"github.com/cosmos/cosmos-sdk/client/rpc"
	"github.com/cosmos/cosmos-sdk/server"
	servercmd "github.com/cosmos/cosmos-sdk/server/cmd"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	simtestutil "github.com/cosmos/cosmos-sdk/testutil/sims"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authcli "github.com/cosmos/cosmos-sdk/x/auth/client/cli"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	genutilcli "github.com/cosmos/cosmos-sdk/x/genutil/client/cli"
	"github.com/spf13/cobra"
)

const feeDenom = "stake"

func main() {
	// The SDK's default prefixes hold; some commands wait for ever for a configuration that nobody seals.
	sdk.GetConfig().Seal()
	home := ".testchain"
	if user, err := os.UserHomeDir(); err == nil {
		home = filepath.Join(user, home)
	}
	if err := servercmd.Execute(command(home), "TESTCHAIN", home); err != nil {
		os.Exit(1)
	}
}

func command(home string) *cobra.Command {
	_, _, c := wire(log.NewNopLogger(), simtestutil.NewAppOptionsWithFlagHome(home))
	root := &cobra.Command{
		Use:          "testchaind",
		Short:        "A chain of the Cosmos SDK's stock modules, for end-to-end tests",
		Long:         "A chain of the Cosmos SDK's stock modules, for end-to-end tests. Upgrade plans of this build: [" + plans + "].",
		SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return prepare(cmd, clientContext(c, home))
		},
	}
	// cobra sends what commands print to stderr unless it is told.
	root.SetOut(os.Stdout)
	root.AddCommand(
		genutilcli.InitCmd(c.modules, home),
		genutilcli.Commands(c.txConfig, c.modules, home),
		keyCommands(),
		server.StatusCommand(),
		queries(c),
		transactions(c),
	)
	server.AddCommands(root, home, open, noExport, func(*cobra.Command) {})
	return root
}

func keyCommands() *cobra.Command {
	cmd := keys.Commands()
	cmd.AddCommand(signDataCommand())
	return cmd
}

func clientContext(c codecs, home string) client.Context {
	return client.Context{
		Codec:             c.codec,
		InterfaceRegistry: c.registry,
		TxConfig:          c.txConfig,
		LegacyAmino:       c.amino,
		Input:             os.Stdin,
		AccountRetriever:  authtypes.AccountRetriever{},
		HomeDir:           home,
	}.WithViper("")
}

// prepare reads the home folder's configuration, for the client and for the node, before a command runs.
func prepare(cmd *cobra.Command, base client.Context) error {
	ctx, err := client.ReadPersistentCommandFlags(base.WithCmdContext(cmd.Context()), cmd.Flags())
	if err != nil {
		return err
	}
	if ctx, err = config.ReadFromClientConfig(ctx); err != nil {
		return err
	}
	if err = client.SetCmdClientContextHandler(ctx, cmd); err != nil {
		return err
	}
	node := serverconfig.DefaultConfig()
	node.MinGasPrices = "0" + feeDenom
	return server.InterceptConfigsPreRunHandler(cmd, serverconfig.DefaultConfigTemplate, node, comet.DefaultConfig())
}

func group(use, short string, add func(*cobra.Command), own ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: client.ValidateCmd}
	cmd.PersistentFlags().String(flags.FlagChainID, "", "id of the chain")
	cmd.AddCommand(own...)
	add(cmd)
	return cmd
}

func queries(c codecs) *cobra.Command {
	return group("query", "Questions to a node", c.modules.AddQueryCommands, authcli.QueryTxCmd(), rpc.WaitTxCmd())
}

func transactions(c codecs) *cobra.Command {
	return group("tx", "Transactions", c.modules.AddTxCommands, authcli.GetSignCommand(), authcli.GetEncodeCommand(), authcli.GetBroadcastCommand())
}
