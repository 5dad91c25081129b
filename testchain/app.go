package main

import (
	_ "embed"
	"errors"
	"io"

	"cosmossdk.io/core/appconfig"
	"cosmossdk.io/depinject"
	"cosmossdk.io/log"
	upgradekeeper "cosmossdk.io/x/upgrade/keeper"
	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/server"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govclient "github.com/cosmos/cosmos-sdk/x/gov/client"

	// Each module registers itself for app.yaml.
	_ "cosmossdk.io/x/upgrade"
	_ "github.com/cosmos/cosmos-sdk/x/auth"
	_ "github.com/cosmos/cosmos-sdk/x/auth/tx/config"
	_ "github.com/cosmos/cosmos-sdk/x/bank"
	_ "github.com/cosmos/cosmos-sdk/x/consensus"
	_ "github.com/cosmos/cosmos-sdk/x/distribution"
	_ "github.com/cosmos/cosmos-sdk/x/mint"
	_ "github.com/cosmos/cosmos-sdk/x/slashing"
	_ "github.com/cosmos/cosmos-sdk/x/staking"
)

//go:embed app.yaml
var moduleList []byte

// chain is the application that CometBFT runs.
type chain struct {
	*runtime.App
	upgrades *upgradekeeper.Keeper
}

// codecs is what the command line needs to build, sign and print transactions.
type codecs struct {
	codec    codec.Codec
	amino    *codec.LegacyAmino
	registry codectypes.InterfaceRegistry
	txConfig client.TxConfig
	modules  module.BasicManager
}

// wire puts the modules together. The application that comes out is not loaded.
func wire(logger log.Logger, options servertypes.AppOptions) (*runtime.AppBuilder, *upgradekeeper.Keeper, codecs) {
	var (
		builder  *runtime.AppBuilder
		upgrades *upgradekeeper.Keeper
		c        codecs
	)
	commands := map[string]module.AppModuleBasic{
		genutiltypes.ModuleName: genutil.NewAppModuleBasic(genutiltypes.DefaultMessageValidator),
		"gov":                   gov.NewAppModuleBasic([]govclient.ProposalHandler{}),
	}
	err := depinject.Inject(
		depinject.Configs(appconfig.LoadYAML(moduleList), depinject.Supply(logger, options, commands)),
		&builder, &upgrades, &c.codec, &c.amino, &c.registry, &c.txConfig, &c.modules,
	)
	if err != nil {
		panic(err)
	}
	return builder, upgrades, c
}

// open loads the application from its database, with the upgrade handlers that this build has.
func open(logger log.Logger, db dbm.DB, trace io.Writer, options servertypes.AppOptions) servertypes.Application {
	builder, upgrades, _ := wire(logger, options)
	c := &chain{App: builder.Build(db, trace, server.DefaultBaseappOptions(options)...), upgrades: upgrades}
	c.registerHandlers()
	if err := c.Load(true); err != nil {
		panic(err)
	}
	return c
}

// FinalizeBlock is the SDK's, but for a build that is meant to break: that one dies at the block after its upgrade.
func (c *chain) FinalizeBlock(block *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	c.breakIfMeantTo(block.Height)
	return c.App.FinalizeBlock(block)
}

func noExport(log.Logger, dbm.DB, io.Writer, int64, bool, []string, servertypes.AppOptions, []string) (servertypes.ExportedApp, error) {
	return servertypes.ExportedApp{}, errors.New("the test chain does not export its state")
}
